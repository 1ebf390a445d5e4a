/** Named sets of features: changes of the sets that an SAE has. A change that cannot be made throws an Error with one sentence. */

import type { LabelsAnswer, SetInMember } from '../interpAPI'
import { count, counted } from './format'

export type Sets = LabelsAnswer['sets']

export const SET_NAME_LENGTH = 120
/** The most features of a set. */
export const MOST_FEATURES = 1_000
const MOST_SETS = 200

/** A name as the server takes it: one line. */
export function setName(written: string): string {
  const line = written.replace(/\p{Cs}/gu, '').split(/[\s\p{Cc}]+/u).filter(Boolean).join(' ')
  return Array.from(line).slice(0, SET_NAME_LENGTH).join('').trim()
}

/** The sets with more features in one of them, which is made where there is none of this name. */
export function withMore(sets: Sets, name: string, features: readonly number[], note = ''): Sets {
  const old = has(sets, name) ? sets[name] : undefined
  const all = [...new Set([...(old?.features ?? []), ...features])].sort((a, b) => a - b)
  if (!name) throw new Error('Give the set a name.')
  if (all.length === 0) throw new Error('A set has at least one feature.')
  if (all.length > MOST_FEATURES) throw new Error(`The set “${name}” would have ${counted(all.length, 'feature')}; at most ${count(MOST_FEATURES)} are kept.`)
  if (!old && Object.keys(sets).length >= MOST_SETS) throw new Error(`There are ${MOST_SETS} sets already; delete one first.`)
  return { ...sets, [name]: { features: all, note: old?.note || note, updated_at: old?.updated_at ?? null } }
}

/** The sets with a new one. */
export function withNew(sets: Sets, name: string, features: readonly number[], note: string): Sets {
  if (has(sets, name)) throw new Error(`There is a set “${name}” already; rename or delete it first.`)
  return withMore(sets, name, features, note)
}

/** The sets with another name and note for one of them. */
export function withText(sets: Sets, former: string, name: string, note: string): Sets {
  const own = has(sets, former) ? sets[former] : undefined
  if (!own) throw new Error(`The set “${former}” was deleted or renamed elsewhere.`)
  return withNew(without(sets, former), name, own.features, note)
}

/** The sets without one of them. */
export function without(sets: Sets, name: string): Sets {
  return Object.fromEntries(Object.entries(sets).filter(([one]) => one !== name))
}

/** The features of another SAE in which those of a set are found, ascending and each once. */
export function foundThere({ feature, found }: Pick<SetInMember, 'feature' | 'found'>): number[] {
  return [...new Set(feature.filter((_, i) => found[i]))].sort((a, b) => a - b)
}

export function has(sets: Sets, name: string): boolean {
  return Object.hasOwn(sets, name)
}
