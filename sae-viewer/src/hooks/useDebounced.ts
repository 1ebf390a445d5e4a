import { useEffect, useRef, useState } from 'react'

/**
 * The draft of a field, reported `ms` milliseconds after its last change. A value that changes from outside (Back,
 * a link) replaces the draft; a value that the field reported itself does not.
 */
export function useDebounced<T extends string | number>(value: T, report: (value: T) => void, ms = 180) {
  const [draft, setDraft] = useState(value)
  const [seen, setSeen] = useState(value)
  const [reported, setReported] = useState(value)
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined)
  const latest = useRef(report)
  useEffect(() => {
    latest.current = report
  })
  useEffect(() => () => clearTimeout(timer.current), [])
  if (value !== seen) {
    setSeen(value)
    if (value !== reported) {
      setDraft(value)
      setReported(value)
    }
  }
  function send(next: T) {
    clearTimeout(timer.current)
    setReported(next)
    latest.current(next)
  }
  return {
    draft,
    type: (next: T) => {
      setDraft(next)
      clearTimeout(timer.current)
      timer.current = setTimeout(() => send(next), ms)
    },
    /** Reports at once, as on Enter and on clearing. */
    commit: (next: T) => {
      setDraft(next)
      send(next)
    },
  }
}
