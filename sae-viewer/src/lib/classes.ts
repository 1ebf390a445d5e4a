/** A class's colour and mark, and which classes of many are shown first. */

import { visible } from './text'

/** The largest number of classes that have a colour and a mark each. In runs with more, classes are names alone. */
export const MOST_COLOURED = 8

export function isMany(labels: readonly string[]): boolean {
  return labels.length > MOST_COLOURED
}

/** The sentence about runs that are not labelled. */
export const NO_LABELS = 'The table has no labels: a headline’s class is the classifier’s prediction.'

export type Shape = 'down' | 'up' | 'bar' | 'disc' | 'square' | 'diamond' | 'ring' | 'plus' | 'star' | 'frame' | 'hourglass'

export interface ClassLook {
  /** Undefined in runs with many classes. */
  shape: Shape | undefined
  /** A CSS colour. */
  color: string
}

// The names of sentiments keep one look in every run.
const BEARISH: ClassLook = { shape: 'down', color: 'var(--color-bearish)' }
const BULLISH: ClassLook = { shape: 'up', color: 'var(--color-bullish)' }
const NEUTRAL: ClassLook = { shape: 'bar', color: 'var(--color-neutral)' }
const NAMED = new Map([
  ['bearish', BEARISH],
  ['negative', BEARISH],
  ['bullish', BULLISH],
  ['positive', BULLISH],
  ['neutral', NEUTRAL],
])

const SHAPES: Shape[] = ['disc', 'square', 'diamond', 'ring', 'plus', 'star', 'frame', 'hourglass']
/** All colours of classes, in the order in which classes without a known name take them. */
export const CLASS_COLORS = ['class-1', 'class-2', 'class-3', 'class-4', 'class-5', 'bullish', 'bearish', 'neutral'].map(
  (name) => `var(--color-${name})`,
)
const QUIET: ClassLook = { shape: undefined, color: 'var(--color-quiet)' }

const looks = new WeakMap<readonly string[], ClassLook[]>()

/** The look of class `index`. No two classes of a run share a colour or a mark, unless it has many classes. */
export function classLook(labels: readonly string[], index: number): ClassLook {
  if (isMany(labels)) return QUIET
  let found = looks.get(labels)
  if (!found) {
    found = looksOf(labels)
    looks.set(labels, found)
  }
  return found[index] ?? QUIET
}

function looksOf(labels: readonly string[]): ClassLook[] {
  const taken = new Set<ClassLook>()
  const named = labels.map((label) => {
    const look = NAMED.get(label.trim().toLowerCase())
    if (!look || taken.has(look)) return undefined
    taken.add(look)
    return look
  })
  const colors = CLASS_COLORS.filter((color) => ![...taken].some((look) => look.color === color))
  const shapes = [...SHAPES]
  return named.map((look) => look ?? { shape: shapes.shift(), color: colors.shift() ?? QUIET.color })
}

/** The name of class `index` without invisible characters; "class 7" where the run does not name it. */
export function className(labels: readonly string[], index: number): string {
  return visible(labels[index] ?? `class ${index}`)
}

/** The indices of the `most` largest values, the largest first; equal values keep their order. */
export function largest(values: readonly number[], most = values.length): number[] {
  return [...values.keys()].sort((one, other) => (values[other] ?? 0) - (values[one] ?? 0)).slice(0, most)
}

/** How many classes of many are named before the others are counted. */
const NAMED_FIRST = 5

/** Probabilities as words: of all classes, or of the most probable ones and the number of the others. */
export function describeProbabilities(labels: readonly string[], probabilities: readonly number[], percent: (p: number) => string): string {
  const name = (index: number) => `${className(labels, index)} ${percent(probabilities[index] ?? 0)}`
  if (!isMany(labels)) return probabilities.map((_, index) => name(index)).join(', ')
  return [...largest(probabilities, NAMED_FIRST).map(name), `${probabilities.length - NAMED_FIRST} other classes`].join(', ')
}

export interface Confused {
  label: number
  prediction: number
  n: number
}

/** The `most` cells off the diagonal of a confusion matrix [label][prediction] with the highest counts, the highest first. */
export function largestConfusions(counts: readonly (readonly number[])[], most: number): Confused[] {
  return counts
    .flatMap((row, label) => row.map((n, prediction) => ({ label, prediction, n })))
    .filter(({ label, prediction, n }) => label !== prediction && n > 0)
    .sort((one, other) => other.n - one.n)
    .slice(0, most)
}
