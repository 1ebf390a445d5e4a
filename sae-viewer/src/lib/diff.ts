/** What fine-tuning changed, in words and numbers for its panel. */

import type { DiffAnswer, DiffFeature } from '../interpAPI'
import { count, counted } from './format'

export const CHANGES = ['grown', 'faded', 'turned'] as const
export type Change = (typeof CHANGES)[number]

/** How much stronger a feature became, from the logarithm of base 2: "× 2.3", "÷ 1.8". */
export function factor(growth: number): string {
  return `${growth < 0 ? '÷' : '×'} ${(2 ** Math.abs(growth)).toFixed(1)}`
}

/** The class that a feature speaks for or against most, and its effect there. */
export function strongestClass(effects: readonly number[]): { index: number; effect: number } {
  const [index = 0] = strongestClasses(effects, 1)
  return { index, effect: effects[index] ?? 0 }
}

/** The classes on which a feature has the `most` largest effects, in the order of the classes. */
export function strongestClasses(effects: readonly number[], most: number): number[] {
  const size = (index: number) => Math.abs(effects[index] ?? 0)
  return [...effects.keys()].sort((a, b) => size(b) - size(a)).slice(0, most).sort((a, b) => a - b)
}

/** What the counts say, in one or two sentences. */
export function summary({ counts, counts_control: seeds, n_live: live }: Pick<DiffAnswer, 'counts' | 'counts_control' | 'n_live'>): string {
  const own = `Relative to the median feature, ${count(counts.grown)} of ${counted(live, 'feature')} are at least 1.5 times as strong as before, and ${count(counts.faded)} at most two thirds as strong.`
  return seeds ? `${own} Between two fine-tunings that differ by their seed alone, these numbers are ${count(seeds.grown)} and ${count(seeds.faded)}.` : own
}

/** The rows of the table that is saved. */
export const rows = (file: DiffAnswer) =>
  file.features.map((one: DiffFeature) => ({
    feature: one.feature,
    change: one.change,
    growth: one.growth,
    growth_other_seed: one.control_growth,
    growth_seeds_alone: one.seed_growth,
    cosine: one.cosine,
    headlines: one.n_headlines,
    words: one.words.join(' '),
    ...Object.fromEntries(file.labels.map((label, i) => [`effect_${label}`, one.effects[i] ?? 0])),
    alike: one.alike,
    alike_cosine: one.alike_cosine,
  }))
