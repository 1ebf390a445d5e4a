import { describe, expect, it } from 'vitest'
import { benchOf, describeEdit, readBench, withEdit, withinLimits, writeBench, type BenchState } from './bench'

describe('the bench in the address', () => {
  it('comes back as it was written', () => {
    const bench: BenchState = {
      text: 'Ørsted “surges” 12% 🚀 & more',
      from: 'Ørsted falls',
      edits: [
        { feature: 12, operation: 'scale', value: 0.5 },
        { feature: 7, operation: 'ablate', value: 0 },
      ],
    }
    expect(readBench(writeBench(bench))).toEqual(bench)
    expect(readBench(benchOf('up'))).toEqual({ text: 'up', from: 'up', edits: [] })
  })

  it.each(['', '{', '7', 'null', '[]', '{"text":7,"edits":{}}'])('is empty for %j', (written) => {
    expect(readBench(written)).toEqual({ text: '', from: '', edits: [] })
  })

  it('keeps the first sound edit of a feature', () => {
    const edits = [[1, 'scale', 2], [1, 'ablate', 0], [-1, 'scale', 2], [2, 'melt', 1], [3, 'add', null], [1.5, 'add', 1], 'x']
    expect(readBench(JSON.stringify({ text: 'up', edits })).edits).toEqual([{ feature: 1, operation: 'scale', value: 2 }])
  })
})

it('keeps a bench within the limits of the API', () => {
  const edits = Array.from({ length: 5 }, (_, feature) => ({ feature, operation: 'add', value: feature % 2 ? 1e9 : -1e9 }) as const)
  const cut = withinLimits({ text: 'x'.repeat(50), from: 'y'.repeat(50), edits }, { max_characters: 20, max_edits: 2, max_value: 100 })
  expect(cut.text).toBe('x'.repeat(20))
  expect(cut.from).toBe('y'.repeat(20))
  expect(cut.edits.map(({ value }) => value)).toEqual([-100, 100])
})

it('replaces, adds and removes an edit', () => {
  const half = { feature: 1, operation: 'scale', value: 0.5 } as const
  const more = { feature: 2, operation: 'add', value: 3 } as const
  expect(withEdit([half], 2, more)).toEqual([half, more])
  expect(withEdit([half, more], 1, { ...half, value: 2 })).toEqual([{ ...half, value: 2 }, more])
  expect(withEdit([half, more], 1, undefined)).toEqual([more])
  expect(describeEdit({ ...more, value: -3 })).toBe('− 3')
  expect(describeEdit(half)).toBe('× 0.5')
})
