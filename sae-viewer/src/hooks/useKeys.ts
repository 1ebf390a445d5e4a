import { useEffect, useRef } from 'react'

/** The longest pause between the two keys of a chord, in ms. */
const CHORD_MS = 1_200

/**
 * Runs an action on a key or on two keys in a row ("g h"), unless a text field has the focus or a dialog is open.
 * An action that returns false leaves the key to the browser.
 */
export function useKeys(actions: Record<string, () => unknown>): void {
  const current = useRef(actions)
  useEffect(() => {
    current.current = actions
  })
  useEffect(() => {
    let leader = ''
    let pressedAt = 0
    function onKeyDown(event: KeyboardEvent) {
      if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return
      if (isTyping(event.target) || document.querySelector('dialog[open], [role=menu]')) return
      const chord = Date.now() - pressedAt < CHORD_MS ? `${leader} ${event.key}` : ''
      leader = event.key
      pressedAt = Date.now()
      const action = current.current[chord] ?? current.current[event.key]
      if (action && action() !== false) event.preventDefault()
    }
    window.addEventListener('keydown', onKeyDown)
    return () => window.removeEventListener('keydown', onKeyDown)
  }, [])
}

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && target.matches('input, textarea, select, [contenteditable]')
}
