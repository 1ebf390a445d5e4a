import { describe, expect, it } from 'vitest'
import { seedChoices, stableSentence, timesFound } from './stability'

const three = { seeds: [1, 2, 3], found: [4, 3, 2, 1], share: 0.1, low: 0.018, high: 0.404, by_seed: [0.4, 0.3, 0.3], chance: 0.001 }

describe('stability across seeds', () => {
  it('names how often a feature is found', () => {
    expect(timesFound(2, three)).toBe('2 of 3 other seeds')
    expect(timesFound(0, { seeds: [5] })).toBe('0 of 1 other seed')
  })

  it('offers every number of seeds with the features that it leaves', () => {
    expect(seedChoices(three)).toEqual([
      { least: 1, label: 'found in 1 or more', n: 6 },
      { least: 2, label: 'found in 2 or more', n: 3 },
      { least: 3, label: 'found in all 3', n: 1 },
    ])
    expect(seedChoices({ seeds: [5], found: [4, 3] })).toEqual([{ least: 1, label: 'found in the other seed', n: 3 }])
  })

  it('says how many are stable, and the level of chance where it was measured', () => {
    expect(stableSentence(three)).toMatch(/^1 feature of the 10 features that fire \(10\.0\s?%, 95 % interval .+\) is found in all 3 other seeds and counts as stable\. Of random directions, 0\.1\s?% are found in a seed\.$/)
    expect(stableSentence({ ...three, chance: null })).not.toMatch(/random/)
  })
})
