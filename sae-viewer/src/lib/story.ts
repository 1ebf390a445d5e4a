/** Why a prediction was made, in words and per word, from the causes that a run holds. */

import type { Headline } from '../interpAPI'
import { signed } from './effects'
import { percent } from './format'
import { stretches } from './text'

export type StoryPart =
  | { kind: 'text'; text: string }
  | { kind: 'class'; index: number }
  | { kind: 'word'; text: string }
  /** A feature, and its effect on the logit of the predicted class. */
  | { kind: 'feature'; feature: number; effect: number }

type Explained = Pick<Headline, 'text' | 'tokens' | 'starts' | 'ends' | 'words' | 'label' | 'prediction' | 'effects'>
type Effects = NonNullable<Headline['effects']>

/** Effects below this, in logits, or below this share of the largest one, are small: they are not named one by one. */
const SMALL = 0.05
const SMALL_SHARE = 0.1
/** How many features the story names as causes. */
const NAMED = 3

/** The least effect that is named one by one, given all of them. */
export function leastNamed(effects: readonly number[]): number {
  return Math.max(SMALL, SMALL_SHARE * Math.max(0, ...effects.map(Math.abs)))
}

/** The word, as written, on which a feature has its largest effect; empty for a special token. */
export function wordAt(headline: Explained, positions: readonly number[], effects: readonly number[]): string {
  const sizes = effects.map(Math.abs)
  const strongest = positions[sizes.indexOf(Math.max(...sizes))] ?? -1
  return stretches(headline).find((part) => part.positions.includes(strongest))?.text ?? ''
}

/**
 * The causes of a prediction as parts of sentences: the features that speak most for it, grouped by word, the one that
 * speaks most against it, and what is predicted without a set of features. Nothing for a headline without causes.
 */
export function story(headline: Explained, labelled: boolean): StoryPart[] {
  const { effects } = headline
  if (!effects) return []
  const named = leadingFor(effects, headline.prediction)
  return [
    ...because(headline, effects, named),
    ...without(headline, effects, named, labelled),
    ...(effects.spliced_prediction === headline.prediction
      ? []
      : [text(' Read this with care: from the SAE’s reconstruction the prediction would be '), klass(effects.spliced_prediction), text('.')]),
  ]
}

/** The features with the largest effects for the predicted class, largest first; small ones are left out. */
function leadingFor({ features }: Effects, prediction: number): number[] {
  const least = leastNamed(features.map(({ effects }) => effects[prediction] ?? 0))
  const leading = features.filter(({ effects }) => (effects[prediction] ?? 0) >= least)
  leading.sort((one, other) => (other.effects[prediction] ?? 0) - (one.effects[prediction] ?? 0))
  return leading.slice(0, NAMED).map(({ feature }) => feature)
}

function because(headline: Explained, effects: Effects, named: readonly number[]): StoryPart[] {
  const { prediction } = headline
  const { features } = effects
  const effectOf = (feature: number) => features.find((one) => one.feature === feature)?.effects[prediction] ?? 0
  const word = new Map(features.map((one) => [one.feature, wordAt(headline, one.positions, one.position_effects)]))
  const parts: StoryPart[] = [klass(prediction)]
  const words = [...new Set(named.map((feature) => word.get(feature) ?? ''))]
  words.forEach((one, i) => {
    parts.push(text(i === 0 ? ' because of ' : i === words.length - 1 ? ' and ' : ', '))
    parts.push(...cause(one, named.filter((feature) => word.get(feature) === one), effectOf))
  })
  if (words.length === 0) parts.push(text(unnamed(effects, prediction)))
  const least = leastNamed(features.map(({ effects: logits }) => logits[prediction] ?? 0))
  const [against] = features.map(({ feature }) => feature).filter((feature) => effectOf(feature) <= -least).sort((one, other) => effectOf(one) - effectOf(other))
  if (against !== undefined) parts.push(text(', although '), ...cause(word.get(against) ?? '', [against], effectOf), text(' speaks against it'))
  return [...parts, text('.')]
}

/** Where a prediction comes from that no feature speaks strongly for. */
function unnamed({ base, logits }: Effects, prediction: number): string {
  const change = signed((logits[prediction] ?? 0) - (base[prediction] ?? 0))
  const isBase = base.every((logit) => logit <= (base[prediction] ?? 0))
  return isBase ? ` is the prediction without any feature too: all features together change its logit by ${change}` : ` from many small effects, ${change} together`
}

/** A word and, in brackets, the features that have their largest effect on it; the features alone on a special token. */
function cause(word: string, features: readonly number[], effectOf: (feature: number) => number): StoryPart[] {
  const listed = features.flatMap((feature, i): StoryPart[] => [...(i > 0 ? [text('; ')] : []), { kind: 'feature', feature, effect: effectOf(feature) }])
  return word === '' ? listed : [{ kind: 'word', text: word }, text(' ('), ...listed, text(')')]
}

/** What is predicted without a set of features. A wrong prediction is told by the set that leads to the true label. */
function without({ label, prediction }: Explained, effects: Effects, named: readonly number[], labelled: boolean): StoryPart[] {
  const wrong = labelled && label !== prediction
  const flip = (wrong ? effects.repair : undefined) ?? effects.flip
  if (!flip) return []
  const probability = flip.path.at(-1)?.[flip.prediction] ?? 0
  const mended = wrong && flip.prediction === label ? ', as the label says' : ''
  return [text(` Without ${whichOf(flip.features, named)}: `), klass(flip.prediction), text(` (${percent(probability).replace(' ', '\u00a0')})${mended}.`)]
}

/** A set of features in words, given the features that were named before. */
function whichOf(features: readonly number[], named: readonly number[]): string {
  const n = features.length
  const known = features.filter((feature) => named.includes(feature)).length
  const all = known === named.length
  const these = (many: number) => (many === 1 ? 'this feature' : `these ${many} features`)
  if (known === 0) return named.length === 0 ? counted(n) : n === 1 ? 'one other feature' : `${n} other features`
  if (known === n) return all ? these(n) : n === 1 ? `${features[0]} alone` : features.join(' and ')
  if (all) return `${known === 1 ? 'this one' : `these ${known}`} and ${n - known} more ${n - known === 1 ? 'feature' : 'features'}`
  return `${n} features, ${known} of these among them`
}

const counted = (n: number) => (n === 1 ? 'one feature' : `${n} features`)
const text = (written: string): StoryPart => ({ kind: 'text', text: written })
const klass = (index: number): StoryPart => ({ kind: 'class', index })

/** The effect of each word on the logit of the predicted class, [n_words]. */
export interface WordEffects {
  effects: number[]
  /** Whose effects they are: the words' own, or those of the features that fire on them. */
  of: 'words' | 'features'
}

/** The words' own effects where the run has them, else those of the listed features at the words' tokens. */
export function wordEffects(headline: Explained): WordEffects | undefined {
  const { effects } = headline
  if (!effects) return undefined
  if (effects.word_effects) return { effects: effects.word_effects.integrated_gradients, of: 'words' }
  return { effects: featureEffects(headline), of: 'features' }
}

/** The effect of the listed features, or of one of them, at the tokens of each word, [n_words]. */
export function featureEffects({ words, effects }: Explained, only?: number): number[] {
  const sums = Array.from({ length: Math.max(0, ...words.map((word) => word + 1)) }, () => 0)
  for (const { feature, positions, position_effects } of effects?.features ?? []) {
    if (only !== undefined && feature !== only) continue
    positions.forEach((position, i) => {
      const word = words[position] ?? -1
      if (word >= 0) sums[word] = (sums[word] ?? 0) + (position_effects[i] ?? 0)
    })
  }
  return sums
}

/** Why the share of a feature differs from what its ablation alone changes, in words; nothing where they are alike. */
export function difference(share: number, alone: number): string {
  if (Math.abs(share) < SMALL && Math.abs(alone) < SMALL) return ''
  const part = alone / share
  if (share === 0 || part < -0.2) return 'alone it works the other way: its effect depends on the others'
  if (part < 0.7) return 'others back it up: without it they carry most of its share'
  if (part > 1.4) return 'others need it: without it they do less, too'
  return ''
}
