import { describe, expect, it } from 'vitest'
import { changes, scores, signed, strongestEffect, together, transitions, trust, waterfall, waterfallAxis } from './effects'

describe('the waterfall', () => {
  const causes = {
    base: [0.1, -0.1],
    logits: [2, -2],
    features: [
      { feature: 5, effects: [1.5, -1.5], alone: [0.4, -0.4] },
      { feature: 9, effects: [-0.25, 0.25], alone: undefined },
    ],
  }

  it('goes from base to logit without a gap', () => {
    const steps = waterfall(causes, 0)
    expect(steps.map(({ kind }) => kind)).toEqual(['base', 'feature', 'feature', 'others', 'logit'])
    steps.slice(1, -1).forEach((step, i) => expect(step.start).toBe(steps[i]?.end))
    expect(steps.at(-2)?.end).toBe(2)
    const parts = steps.slice(0, -1).reduce((sum, { effect }) => sum + effect, 0)
    expect(parts).toBeCloseTo(2, 12)
  })

  it('cumulates small effects, and keeps what an ablation alone changes beside each share', () => {
    const steps = waterfall(causes, 0, 0.5)
    expect(steps.map(({ kind, effect, alone }) => [kind, effect, alone])).toEqual([
      ['base', 0.1, undefined],
      ['feature', 1.5, 0.4],
      ['others', expect.closeTo(0.4, 12), undefined],
      ['logit', 2, undefined],
    ])
  })

  it('counts rounding errors to the others', () => {
    expect(waterfall({ ...causes, logits: [2.001, -2] }, 0).at(-2)?.effect).toBeCloseTo(0.651, 12)
  })

  it('lies on an axis that holds every step and spans at least half a logit', () => {
    const steps = waterfall(causes, 0)
    const { low, high } = waterfallAxis(steps)
    for (const { end } of steps) {
      expect(end).toBeGreaterThan(low)
      expect(end).toBeLessThan(high)
    }
    const still = waterfallAxis(waterfall({ base: [2], logits: [2.01], features: [{ feature: 1, effects: [0.01], alone: undefined }] }, 0))
    expect(still.high - still.low).toBeCloseTo(0.5, 12)
    expect((still.low + still.high) / 2).toBeCloseTo(2.005, 12)
  })
})

it('names the agreement of both estimates over the features with the largest effects', () => {
  const one = (estimate: 'gradient' | 'integrated', chosen: string, pearson: number) => ({ estimate, chosen, pearson })
  const all = [one('gradient', 'random', 0.1), one('gradient', 'attribution', 0.9), one('integrated', 'attribution', 0.5), one('integrated', 'activation', 0.2)]
  expect(trust(all)).toEqual({ gradient: 0.9, integrated: 0.5 })
  expect(trust([])).toEqual({ gradient: undefined, integrated: undefined })
})

describe('a joint ablation', () => {
  const feature = (id: number, logits: number[]) => ({
    feature: id,
    effects: [],
    gradient_effects: [],
    ablation_logits: logits,
    ablation_probabilities: [],
    positions: [],
    position_effects: [],
  })
  const features = [feature(5, [0.5, -0.5]), feature(9, [0.25, -0.25])]
  const interactions = [{ features: [5, 9], effects: [1.25, -1.25] }]

  it('stands beside the sum of single ablations, as changes of the logit', () => {
    expect(together({ features, joint_effects: [2, -2], interactions }, 0)).toEqual({ n: 2, joint: 2, sum: 0.75, pairs: [{ features: [5, 9], effect: 1.25 }] })
    expect(together({ features, joint_effects: [2, -2], interactions: null }, 1)).toEqual({ n: 2, joint: -2, sum: -0.75, pairs: [] })
  })

  it('is unknown in older runs, and nothing else than the single one for one feature', () => {
    expect(together({ features, joint_effects: null, interactions: null }, 0)).toBeUndefined()
    expect(together({ features: features.slice(1), joint_effects: [2, -2], interactions: null }, 0)).toBeUndefined()
  })
})

it('signs effects', () => {
  expect([0.424, -1.3, 0.001, -0.001].map(signed)).toEqual(['+0.42', '−1.30', '0.00', '0.00'])
})

it('lists changes, largest first', () => {
  const fires = (feature: number, activation: number) => ({ feature, word: 'w', activation })
  const found = changes([fires(1, 3), fires(2, 5), fires(3, 1)], [fires(1, 3), fires(2, 4), fires(4, 9)])
  expect(found.map(({ feature, before, after }) => [feature, before, after])).toEqual([[4, 0, 9], [2, 5, 4], [3, 1, 0]])
})

describe('an audit', () => {
  it('scores like scikit-learn', () => {
    const found = scores([0, 0, 1, 1, 2, 2], [0, 1, 1, 1, 2, 0], 3)
    expect(found.accuracy).toBeCloseTo(4 / 6, 12)
    expect(found.macroF1).toBeCloseTo((0.5 + 0.8 + 2 / 3) / 3, 12)
    expect(scores([], [], 3)).toEqual({ n: 0, accuracy: 0, macroF1: 0 })
  })

  it('counts transitions', () => {
    expect(transitions([0, 0, 1], [0, 1, 1], 2)).toEqual([[1, 1], [0, 1]])
  })
})

describe('the strongest effect', () => {
  it('is the largest by size, with its sign', () => {
    expect(strongestEffect([0.5, -1.5, 1])).toEqual({ index: 1, effect: -1.5 })
  })
  it('is the first of equals, and none of no classes', () => {
    expect(strongestEffect([0.5, -0.5])).toEqual({ index: 0, effect: 0.5 })
    expect(strongestEffect([])).toBeUndefined()
  })
})
