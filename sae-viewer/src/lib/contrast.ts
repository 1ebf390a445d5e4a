/** Texts before and after a change, and what is said of a kind of change. */

import type { KindOfChange } from '../interpAPI'

/** A stretch of a text, marked where the change touches it. */
export interface Stretch {
  text: string
  changed: boolean
}

/** The stretches of a text, given the spans of a change, which are half open and count code points. */
export function marked(text: string, spans: readonly (readonly [number, number])[]): Stretch[] {
  const points = Array.from(text)
  const found: Stretch[] = []
  let at = 0
  const add = (end: number, changed: boolean) => {
    if (end > at) found.push({ text: points.slice(at, end).join(''), changed })
    at = Math.max(at, end)
  }
  for (const [start, end] of spans) {
    add(start, false)
    add(end, true)
  }
  add(points.length, false)
  return found
}

/** What is expected of the prediction. */
export const EXPECTED: Record<KindOfChange['expectation'], string> = {
  same: 'stays',
  toward: 'moves toward a class',
  away: 'moves away from a class',
}

export const SOURCES: Record<KindOfChange['source'], string> = {
  headlines: 'this run’s headlines',
  templates: 'templates',
  table: 'your table',
}

export interface Transition {
  from: number
  to: number
  n: number
}

/** The changes of predictions, the most frequent one first; pairs that keep their prediction are left out. */
export function transitions({ transitions: counts }: Pick<KindOfChange, 'transitions'>): Transition[] {
  return counts
    .flatMap((row, from) => row.map((n, to) => ({ from, to, n })))
    .filter(({ from, to, n }) => from !== to && n > 0)
    .sort((one, other) => other.n - one.n)
}
