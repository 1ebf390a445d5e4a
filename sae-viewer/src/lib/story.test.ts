import { describe, expect, it } from 'vitest'
import type { Headline } from '../interpAPI'
import { difference, featureEffects, leastNamed, story, wordEffects, type StoryPart } from './story'

const LABELS = ['Bearish', 'Bullish', 'Neutral']

/** A feature that fires on one token, with its effect on the predicted class. */
function cause(feature: number, effect: number, position: number) {
  return {
    feature,
    effects: [effect, -effect / 2, -effect / 2],
    gradient_effects: [0, 0, 0],
    ablation_logits: [effect / 4, 0, 0],
    ablation_probabilities: [0, 0, 0],
    positions: [position],
    position_effects: [effect],
  }
}

type Effects = NonNullable<Headline['effects']>
const path = (features: number[], prediction: number, p = 0.521) => ({ features, prediction, path: [[0.9, 0.05, 0.05], [0, 0, 0].map((_, i) => (i === prediction ? p : (1 - p) / 2))] })

/** "Firm cuts debt", predicted Bearish, with the label Bullish. */
function headline(features: ReturnType<typeof cause>[], more: Partial<Effects> = {}, about: Partial<Headline> = {}): Headline {
  return {
    headline: 0,
    headline_id: '0',
    text: 'Firm cuts debt',
    label: 1,
    prediction: 0,
    probabilities: [0.9, 0.06, 0.04],
    tokens: ['[CLS]', 'firm', 'cut', '##s', 'debt', '[SEP]'],
    starts: [0, 0, 5, 8, 10, 0],
    ends: [0, 4, 8, 9, 14, 0],
    words: [-1, 0, 1, 1, 2, -1],
    columns: {},
    features: [],
    found_names: {},
    effects: {
      headline: 0,
      headline_id: '0',
      logits: [2, -1, -1],
      base: [-1, 0.5, 0.5],
      rest: [0, 0, 0],
      features,
      spliced_prediction: 0,
      spliced_delta_p: 0,
      spliced_kl: 0,
      flip: null,
      repair: null,
      word_effects: null,
      ...more,
    },
    ...about,
  } as Headline
}

/** The story as a reader sees it; features by number and effect. */
const told = (one: Headline, labelled = true) => story(one, labelled).map(shown).join('').replaceAll('\u00a0', ' ')
function shown(part: StoryPart): string {
  switch (part.kind) {
    case 'class':
      return LABELS[part.index] ?? ''
    case 'feature':
      return `${part.feature} ${part.effect}`
    default:
      return part.text
  }
}

describe('the story of a prediction', () => {
  it('names the words and their features, what speaks against it, and what would change it', () => {
    const one = headline([cause(5, 0.75, 2), cause(6, 0.5, 3), cause(7, 0.3, 1), cause(8, -0.4, 4), cause(9, 0.01, 1)], { flip: path([5, 6], 1) })
    expect(told(one)).toBe(
      'Bearish because of cuts (5 0.75; 6 0.5) and Firm (7 0.3), although debt (8 -0.4) speaks against it. Without 5 and 6: Bullish (52.1 %), as the label says.',
    )
  })
  it('counts the features of a flip that were not named', () => {
    const causes = [cause(5, 0.75, 2)]
    const flips: [number[], string][] = [
      [[5], 'this feature'],
      [[5, 11, 12, 13], 'this one and 3 more features'],
      [[11], 'one other feature'],
      [[11, 12], '2 other features'],
    ]
    for (const [features, words] of flips) expect(told(headline(causes, { flip: path(features, 2) }))).toContain(` Without ${words}: Neutral (52.1 %).`)
    const two = [cause(5, 0.75, 2), cause(6, 0.5, 3)]
    expect(told(headline(two, { flip: path([5, 6], 2) }))).toContain('Without these 2 features: ')
    expect(told(headline(two, { flip: path([5, 6, 7], 2) }))).toContain('Without these 2 and 1 more feature: ')
    expect(told(headline(two, { flip: path([6], 2) }))).toContain('Without 6 alone: ')
    expect(told(headline(two, { flip: path([6, 9], 2) }))).toContain('Without 2 features, 1 of these among them: ')
  })
  it('tells a wrong prediction by the set that leads to the true label', () => {
    const both = { flip: path([5], 2), repair: path([5, 6], 1) }
    expect(told(headline([cause(5, 0.75, 2)], both))).toContain('Bullish (52.1 %), as the label says.')
    expect(told(headline([cause(5, 0.75, 2)], both, { label: 0 }))).toContain('Neutral (52.1 %).')
    expect(told(headline([cause(5, 0.75, 2)], both), false)).toContain('Neutral (52.1 %).') // no labels: no prediction is wrong
  })
  it('does not name small effects as causes', () => {
    expect(told(headline([cause(5, 0.04, 2), cause(6, -0.04, 1)]))).toBe('Bearish from many small effects, +3.00 together.')
    expect(told(headline([cause(5, 2, 2), cause(6, 0.19, 1), cause(7, -0.19, 4)]))).toBe('Bearish because of cuts (5 2).')
  })
  it('says that no feature is needed where the class leads without any', () => {
    const base = { base: [2.5, -1, -1.5] }
    expect(told(headline([cause(5, 0.04, 2)], base))).toBe('Bearish is the prediction without any feature too: all features together change its logit by −0.50.')
    expect(told(headline([cause(5, -0.4, 2)], base))).toBe(
      'Bearish is the prediction without any feature too: all features together change its logit by −0.50, although cuts (5 -0.4) speaks against it.',
    )
  })
  it('warns where the reconstruction predicts something else', () => {
    expect(told(headline([cause(5, 1, 2)], { spliced_prediction: 2 }))).toContain('Read this with care: from the SAE’s reconstruction the prediction would be Neutral.')
  })
  it('names features alone on a special token, and says nothing without causes', () => {
    expect(told(headline([cause(5, 1, 0)]))).toBe('Bearish because of 5 1.')
    expect(story(headline([], {}, { effects: null }), true)).toEqual([])
  })
})

describe('effects of words', () => {
  const one = headline([cause(5, 0.75, 2), cause(6, 0.5, 3), cause(8, -0.4, 4), cause(9, 3, 0)])
  it('are those of the features on a word’s tokens; special tokens count for none', () => {
    expect(wordEffects(one)).toEqual({ effects: [0, 1.25, -0.4], of: 'features' })
    expect(featureEffects(one, 6)).toEqual([0, 0.5, 0])
  })
  it('are the words’ own where the run has them', () => {
    const word_effects = { integrated_gradients: [0, 1, 2], occlusion: [0, 0, 0], features: [0, 0, 0], base: 0, agreement: 1, feature_agreement: 1 }
    expect(wordEffects(headline([cause(5, 1, 2)], { word_effects }))).toEqual({ effects: [0, 1, 2], of: 'words' })
  })
})

it('small effects are below a twentieth of a logit, or below a tenth of the largest', () => {
  expect(leastNamed([])).toBe(0.05)
  expect(leastNamed([0.3, -0.1])).toBe(0.05)
  expect(leastNamed([0.3, -2])).toBeCloseTo(0.2, 12)
})

it('says why a share and an ablation alone differ', () => {
  expect(difference(0.75, 0.17)).toContain('back it up')
  expect(difference(0.2, 0.5)).toContain('others need it')
  expect(difference(0.5, -0.4)).toContain('the other way')
  expect(difference(0, 0.4)).toContain('the other way')
  expect(difference(-0.75, -0.17)).toContain('back it up')
  expect(difference(0.5, 0.5)).toBe('')
  expect(difference(0.01, -0.02)).toBe('')
})
