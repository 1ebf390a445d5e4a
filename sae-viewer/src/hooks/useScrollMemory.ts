import { useLayoutEffect, useRef } from 'react'

/** Scroll positions of the views seen since the page was loaded, by what decides them. */
const positions = new Map<string, number>()
let wentBack = false

if (typeof window !== 'undefined') {
  window.history.scrollRestoration = 'manual'
  window.addEventListener('popstate', () => (wentBack = true))
}

/**
 * Scroll to the top when `key` changes; on Back, and on return to another view, to where it was. Call it above
 * the views, so that they have their height.
 */
export function useScrollMemory(view: string, key: string): void {
  const before = useRef<{ view: string; key: string } | null>(null)
  useLayoutEffect(() => {
    const previous = before.current
    before.current = { view, key }
    if (previous) {
      const restored = wentBack || previous.view !== view ? positions.get(key) : undefined
      window.scrollTo(0, restored ?? 0)
    }
    wentBack = false
    const remember = () => positions.set(key, window.scrollY)
    window.addEventListener('scroll', remember, { passive: true })
    return () => window.removeEventListener('scroll', remember)
  }, [view, key])
}

/** Whether the view `key` will be scrolled to where it was. */
export function isRemembered(key: string): boolean {
  return positions.has(key)
}
