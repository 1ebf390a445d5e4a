import { useState, type ReactNode } from 'react'
import { isMany, largest } from '../lib/classes'

/**
 * The classes to show, and the button that shows the others: all classes in their order or, of many, the `first` ones
 * by falling value.
 */
export function useFoldedClasses(labels: readonly string[], values: readonly number[], first = 5): [shown: number[], toggle: ReactNode] {
  const [all, setAll] = useState(false)
  if (!isMany(labels)) return [[...labels.keys()], null]
  const toggle = (
    <button type="button" aria-expanded={all} className="quiet text-xs whitespace-nowrap" onClick={() => setAll(!all)}>
      {all ? `First ${first} classes` : `All ${labels.length} classes`}
    </button>
  )
  return [largest(values, all ? labels.length : first), toggle]
}
