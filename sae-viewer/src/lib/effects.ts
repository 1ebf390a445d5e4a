/** Numbers for the causal views: the waterfall of a logit, joint ablations, changes between two texts, the scores of an audit. */

import type { HeadlineEffects } from '../interpAPI'

export interface WaterfallStep {
  kind: 'base' | 'feature' | 'others' | 'logit'
  feature: number | undefined
  /** The signed length of the step, in logits. */
  effect: number
  /** What the logit loses when only this feature is removed; undefined where that was not measured. */
  alone: number | undefined
  /** Where the step starts and ends on the axis of the logit. */
  start: number
  end: number
}

export interface Causes {
  base: readonly number[]
  logits: readonly number[]
  /** Per feature: its effect on each class, and the effect of its ablation alone. */
  features: readonly { feature: number; effects: readonly number[]; alone: readonly number[] | undefined }[]
}

/**
 * The steps base + effects + others = logit of class `index`. Effects smaller than `least` are cumulated in the others,
 * with those of features that are not listed and with quadrature and rounding errors.
 */
export function waterfall({ base, logits, features }: Causes, index: number, least = 0): WaterfallStep[] {
  const start = base[index] ?? 0
  const end = logits[index] ?? 0
  const whole = { feature: undefined, alone: undefined }
  const steps: WaterfallStep[] = [{ kind: 'base', ...whole, effect: start, start: 0, end: start }]
  let at = start
  for (const { feature, effects, alone } of features) {
    const effect = effects[index] ?? 0
    if (Math.abs(effect) < least) continue
    steps.push({ kind: 'feature', feature, effect, alone: alone?.[index], start: at, end: at + effect })
    at += effect
  }
  steps.push({ kind: 'others', ...whole, effect: end - at, start: at, end })
  steps.push({ kind: 'logit', ...whole, effect: end, start: 0, end })
  return steps
}

/** The least range that is drawn, in logits, so that negligible effects look small. */
const LEAST_RANGE = 0.5

/** The range of the logit's axis that holds all steps, with a margin; 0 may lie outside. */
export function waterfallAxis(steps: readonly WaterfallStep[]): { low: number; high: number } {
  const ends = steps.map(({ end }) => end)
  const [low, high] = [Math.min(...ends), Math.max(...ends)]
  const margin = Math.max(0.04 * (high - low), (LEAST_RANGE - (high - low)) / 2)
  return { low: low - margin, high: high + margin }
}

/** How estimates agree with true ablations, as the correlation over the features with the largest effects; undefined where it was not measured. */
export interface Trust {
  integrated: number | undefined
  gradient: number | undefined
}

export function trust(agreement: readonly { estimate: 'gradient' | 'integrated'; chosen: string; pearson: number }[]): Trust {
  const of = (name: 'gradient' | 'integrated') => agreement.find(({ estimate, chosen }) => estimate === name && chosen === 'attribution')?.pearson
  return { integrated: of('integrated'), gradient: of('gradient') }
}

/** What ablating the listed features changes, in logits: all at once, and one by one, added up. */
export interface Together {
  n: number
  joint: number
  sum: number
  /** The largest interactions of pairs: the loss with both ablated, less the loss with each. */
  pairs: { features: readonly number[]; effect: number }[]
}

/** The joint ablation of a headline's listed features; undefined for fewer than two, or where it was not measured. */
export function together(
  { features, joint_effects: joint, interactions }: Pick<HeadlineEffects, 'features' | 'joint_effects' | 'interactions'>,
  index: number,
): Together | undefined {
  if (!joint || features.length < 2) return undefined
  return {
    n: features.length,
    joint: joint[index] ?? 0,
    sum: features.reduce((sum, { ablation_logits: logits }) => sum + (logits[index] ?? 0), 0),
    pairs: (interactions ?? []).map(({ features: pair, effects }) => ({ features: pair, effect: effects[index] ?? 0 })),
  }
}

/** An effect with its sign and two decimals: "+0.42", "−1.30"; zero has no sign: "0.00". */
export function signed(effect: number): string {
  const size = Math.abs(effect).toFixed(2)
  return Number(size) === 0 ? '0.00' : `${effect < 0 ? '−' : '+'}${size}`
}

/** The class with the largest effect by size, the first of equals. */
export function strongestEffect(effects: readonly number[]): { index: number; effect: number } | undefined {
  const sizes = effects.map(Math.abs)
  const index = sizes.indexOf(Math.max(...sizes))
  const effect = effects[index]
  return effect === undefined ? undefined : { index, effect }
}

export interface FeatureChange {
  feature: number
  word: string
  before: number
  after: number
}

interface Firing {
  feature: number
  word: string
  activation: number
}

/** Features whose activation differs between two lists, the largest change first. A feature absent from a list counts as 0. */
export function changes(before: readonly Firing[], after: readonly Firing[]): FeatureChange[] {
  const found = new Map<number, FeatureChange>()
  for (const { feature, word, activation } of before) found.set(feature, { feature, word, before: activation, after: 0 })
  for (const { feature, word, activation } of after) {
    found.set(feature, { feature, word, before: found.get(feature)?.before ?? 0, after: activation })
  }
  const size = ({ before: b, after: a }: FeatureChange) => Math.abs(a - b)
  return [...found.values()].filter((one) => size(one) > 0.005).sort((one, other) => size(other) - size(one))
}

export interface Scores {
  n: number
  accuracy: number
  macroF1: number
}

/** Accuracy and macro-F1, the unweighted mean of the classes' F1. A class without labels and predictions has F1 = 0. */
export function scores(labels: readonly number[], predictions: readonly number[], nClasses: number): Scores {
  const n = labels.length
  let f1 = 0
  for (let c = 0; c < nClasses; c++) {
    const hits = labels.filter((label, i) => label === c && predictions[i] === c).length
    const all = labels.filter((label) => label === c).length + predictions.filter((p) => p === c).length
    f1 += all > 0 ? (2 * hits) / all : 0
  }
  const right = labels.filter((label, i) => label === predictions[i]).length
  return { n, accuracy: n ? right / n : 0, macroF1: nClasses ? f1 / nClasses : 0 }
}

/** How many predictions changed from one class to another: [before][after]. */
export function transitions(before: readonly number[], after: readonly number[], nClasses: number): number[][] {
  const counts = Array.from({ length: nClasses }, () => Array.from({ length: nClasses }, () => 0))
  before.forEach((from, i) => {
    const row = counts[from]
    const to = after[i]
    if (row && to !== undefined) row[to] = (row[to] ?? 0) + 1
  })
  return counts
}
