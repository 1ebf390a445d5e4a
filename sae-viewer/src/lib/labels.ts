/** A person's label of a feature, and how two people's changes of it are merged. */

import type { FeatureLabel, LabelsAnswer } from '../interpAPI'

/** The parts of a label that a person writes. */
export type LabelText = Pick<FeatureLabel, 'name' | 'starred' | 'note'>
export type Labels = LabelsAnswer['labels']

export const NAME_LENGTH = 120
export const NOTE_LENGTH = 4000
export const NO_LABEL: LabelText = { name: '', starred: false, note: '' }

export function labelText({ name, starred, note }: LabelText): LabelText {
  return { name, starred, note }
}

export function isSame(one: LabelText, other: LabelText): boolean {
  return one.name === other.name && one.starred === other.starred && one.note === other.note
}

export interface Merged {
  label: LabelText
  /** Fields that both changed to different values; `label` has mine there. */
  conflicts: (keyof LabelText)[]
}

/** Merges two edits of `base`: a field that only one of them changed has that one's value. */
export function mergeLabel(base: LabelText, mine: LabelText, theirs: LabelText): Merged {
  const conflicts: (keyof LabelText)[] = []
  function pick<K extends keyof LabelText>(field: K): LabelText[K] {
    if (mine[field] === base[field]) return theirs[field]
    if (theirs[field] !== base[field] && theirs[field] !== mine[field]) conflicts.push(field)
    return mine[field]
  }
  return { label: { name: pick('name'), starred: pick('starred'), note: pick('note') }, conflicts }
}
