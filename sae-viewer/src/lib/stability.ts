/** In how many trainings with other seeds a feature is found, and what to say of it. */

import type { Run } from '../interpAPI'
import { counted, percent } from './format'

/** The metric that counts the other seeds in which a feature is found. */
export const FOUND_IN_SEEDS = 'found_in_seeds'

export type Stability = NonNullable<Run['stability']>

/** What "found" means. */
export const FOUND = 'A feature is found in another seed if a decoder row of that training has a cosine of at least 0.7 with its own.'

/** "2 of 3 other seeds". */
export function timesFound(found: number, { seeds }: Pick<Stability, 'seeds'>): string {
  return `${found} of ${counted(seeds.length, 'other seed')}`
}

/** The choices of the filter: the least number of other seeds, each with its name and the features it leaves. */
export function seedChoices({ seeds, found }: Pick<Stability, 'seeds' | 'found'>): { least: number; label: string; n: number }[] {
  return seeds.map((_, i) => {
    const least = i + 1
    const n = found.slice(least).reduce((sum, one) => sum + one, 0)
    return { least, label: least === seeds.length ? (least === 1 ? 'found in the other seed' : `found in all ${least}`) : `found in ${least} or more`, n }
  })
}

/** How many features are stable, with the interval and the level of chance, in one sentence. */
export function stableSentence({ seeds, found, share, low, high, chance }: Stability): string {
  const fire = found.reduce((sum, one) => sum + one, 0)
  const where = seeds.length === 1 ? 'the other seed' : `all ${seeds.length} other seeds`
  const n = found[seeds.length] ?? 0
  const of = `${counted(n, 'feature')} of the ${counted(fire, 'feature')} that fire (${percent(share)}, 95 % interval ${percent(low)} to ${percent(high)})`
  const random = chance === null ? '' : ` Of random directions, ${percent(chance)} are found in a seed.`
  return `${of} ${n === 1 ? 'is' : 'are'} found in ${where} and ${n === 1 ? 'counts' : 'count'} as stable.${random}`
}
