/** A class's colour and shape. Orange, blue and grey differ for every kind of colour vision, and so do the shapes. */

import { visible } from './text'

export type Shape = 'down' | 'up' | 'bar' | 'disc' | 'square' | 'diamond'

export interface ClassLook {
  shape: Shape
  /** A CSS colour. */
  color: string
}

const KNOWN: [RegExp, ClassLook][] = [
  [/^(bear|neg)/i, { shape: 'down', color: 'var(--color-bearish)' }],
  [/^(bull|pos)/i, { shape: 'up', color: 'var(--color-bullish)' }],
  [/^neu/i, { shape: 'bar', color: 'var(--color-neutral)' }],
]
const OTHERS: ClassLook[] = [
  { shape: 'disc', color: 'var(--color-class-1)' },
  { shape: 'square', color: 'var(--color-class-2)' },
  { shape: 'diamond', color: 'var(--color-class-3)' },
]

/** The look of class `index`, by its name where the name is known. */
export function classLook(labels: readonly string[], index: number): ClassLook {
  const label = labels[index] ?? ''
  const known = KNOWN.find(([pattern]) => pattern.test(label))
  return known?.[1] ?? OTHERS[index % OTHERS.length] ?? { shape: 'disc', color: 'currentColor' }
}

/** The name of class `index` without invisible characters; "class 7" where the run does not name it. */
export function className(labels: readonly string[], index: number): string {
  return visible(labels[index] ?? `class ${index}`)
}
