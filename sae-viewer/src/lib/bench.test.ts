import { describe, expect, it } from 'vitest'
import { benchOf, editInWords, readBench, withEdit, writeBench, type Bench } from './bench'

describe('the bench in the address', () => {
  it('comes back as it was written', () => {
    const bench: Bench = {
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

  it('leaves out edits that make no sense', () => {
    const edits = [[1.5, 'scale', 1], [-1, 'scale', 1], [1, 'double', 1], [1, 'scale', 1e30], [1, 'scale'], 'x', [3, 'add', 2], [3, 'add', 5]]
    expect(readBench(JSON.stringify({ text: 'a', edits })).edits).toEqual([{ feature: 3, operation: 'add', value: 2 }])
  })

  it('cuts what the API would refuse', () => {
    expect(readBench(JSON.stringify({ text: 'x'.repeat(5000) })).text).toHaveLength(1000)
  })
})

it('replaces, adds and removes an edit', () => {
  const half = { feature: 1, operation: 'scale', value: 0.5 } as const
  const more = { feature: 2, operation: 'add', value: 3 } as const
  expect(withEdit([half], 2, more)).toEqual([half, more])
  expect(withEdit([half, more], 1, { ...half, value: 2 })).toEqual([{ ...half, value: 2 }, more])
  expect(withEdit([half, more], 1, undefined)).toEqual([more])
  expect(editInWords({ ...more, value: -3 })).toBe('− 3')
  expect(editInWords(half)).toBe('× 0.5')
})
