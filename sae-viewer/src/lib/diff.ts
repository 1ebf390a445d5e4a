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
  const index = effects.reduce((best, effect, i) => (Math.abs(effect) > Math.abs(effects[best] ?? 0) ? i : best), 0)
  return { index, effect: effects[index] ?? 0 }
}

/** What the counts say, in one or two sentences. */
export function summary({ counts, counts_control: seeds, n_live: live }: Pick<DiffAnswer, 'counts' | 'counts_control' | 'n_live'>): string {
  const own = `${counted(counts.grown, 'feature')} of ${count(live)} became at least half again as strong, and ${count(counts.faded)} lost a third or more.`
  return seeds ? `${own} Between two fine-tunings that differ by their seed alone, ${count(seeds.grown)} and ${count(seeds.faded)} do.` : own
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
