/** What a person says about a feature, and how two people's changes of it come together. */

import type { FeatureLabel, LabelsAnswer } from '../interpAPI'

export type Said = Pick<FeatureLabel, 'name' | 'starred' | 'note'>
export type Labels = LabelsAnswer['labels']

export const NAME_LENGTH = 120
export const NOTE_LENGTH = 4000
export const UNSAID: Said = { name: '', starred: false, note: '' }

export function said({ name, starred, note }: Said): Said {
  return { name, starred, note }
}

export function isSame(one: Said, other: Said): boolean {
  return one.name === other.name && one.starred === other.starred && one.note === other.note
}

export interface Merged {
  label: Said
  /** Fields that both changed, each to something else; `label` has mine there. */
  conflicts: (keyof Said)[]
}

/** `mine` and `theirs` both come from `base`: what only one of them changed is as that one wants it. */
export function mergeLabel(base: Said, mine: Said, theirs: Said): Merged {
  const conflicts: (keyof Said)[] = []
  function pick<K extends keyof Said>(field: K): Said[K] {
    if (mine[field] === base[field]) return theirs[field]
    if (theirs[field] !== base[field] && theirs[field] !== mine[field]) conflicts.push(field)
    return mine[field]
  }
  return { label: { name: pick('name'), starred: pick('starred'), note: pick('note') }, conflicts }
}
