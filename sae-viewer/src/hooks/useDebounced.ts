import { useEffect, useRef, useState } from 'react'

/**
 * A text field's draft that is reported `ms` after the last key. A value that changes from outside (Back, a
 * link) replaces the draft; the field's own reports do not come back to it.
 */
export function useDebounced(value: string, report: (value: string) => void, ms = 180) {
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
  function send(next: string) {
    clearTimeout(timer.current)
    setReported(next)
    latest.current(next)
  }
  return {
    draft,
    type: (next: string) => {
      setDraft(next)
      clearTimeout(timer.current)
      timer.current = setTimeout(() => send(next), ms)
    },
    /** Report at once: on Enter, on clearing. */
    commit: (next: string) => {
      setDraft(next)
      send(next)
    },
  }
}
