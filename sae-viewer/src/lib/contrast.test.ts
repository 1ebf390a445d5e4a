import { describe, expect, it } from 'vitest'
import { marked, transitions } from './contrast'

describe('marked', () => {
  it('cuts a text at spans of code points', () => {
    expect(marked('📈 up 5%', [[2, 4]])).toEqual([
      { text: '📈 ', changed: false },
      { text: 'up', changed: true },
      { text: ' 5%', changed: false },
    ])
  })
  it('loses nothing, whatever the spans', () => {
    for (const spans of [[], [[0, 9]], [[3, 2], [1, 99]]] as [number, number][][]) {
      expect(marked('RT a b cd', spans).map(({ text }) => text).join('')).toBe('RT a b cd')
    }
  })
})

describe('transitions', () => {
  it('lists what changed, the most frequent first', () => {
    expect(transitions({ transitions: [[5, 1, 0], [0, 2, 3], [0, 0, 9]] })).toEqual([
      { from: 1, to: 2, n: 3 },
      { from: 0, to: 1, n: 1 },
    ])
  })
})
