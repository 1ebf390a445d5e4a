import { describe, expect, it } from 'vitest'
import { factor, strongestClass, strongestClasses, summary } from './diff'

describe('factor', () => {
  it('says how many times stronger or weaker a feature is', () => {
    expect(factor(1)).toBe('× 2.0')
    expect(factor(-0.585)).toBe('÷ 1.5')
  })
})

describe('strongestClass', () => {
  it('takes the largest effect, whatever its sign', () => {
    expect(strongestClass([0.1, -0.4, 0.3])).toEqual({ index: 1, effect: -0.4 })
  })
})

describe('strongestClasses', () => {
  it('keeps the order of the classes', () => {
    expect(strongestClasses([0.1, -0.4, 0.3, 0], 2)).toEqual([1, 2])
  })
})

describe('summary', () => {
  it('sets another seed beside the counts, where there is one', () => {
    const counts = { grown: 1, faded: 1200, turned: 0 }
    expect(summary({ counts, counts_control: null, n_live: 2890 })).toBe(
      'Relative to the median feature, 1 of 2,890 features are at least 1.5 times as strong as before, and 1,200 at most two thirds as strong.',
    )
    expect(summary({ counts, counts_control: { grown: 9, faded: 6, turned: 0 }, n_live: 2890 })).toContain('these numbers are 9 and 6.')
  })
})
