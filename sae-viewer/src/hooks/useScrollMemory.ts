import { useLayoutEffect, useRef } from 'react'

/** Scroll positions of the addresses seen since the page was loaded. */
const positions = new Map<string, number>()
let wentBack = false
let restored = ''

if (typeof window !== 'undefined') {
  window.history.scrollRestoration = 'manual'
  window.addEventListener('popstate', () => (wentBack = true))
}

/**
 * Scrolls to the top when `key` changes, or to the former position on Back and on return to an address of another
 * view. An address that changes under the same key does not scroll: something opened in place. The hook is called
 * above the views, whose layout effects run first and give them their height.
 */
export function useScrollMemory(view: string, key: string, address: string): void {
  const before = useRef<{ view: string; key: string } | null>(null)
  useLayoutEffect(() => {
    const previous = before.current
    before.current = { view, key }
    if (previous && previous.key !== key) {
      const position = wentBack || previous.view !== view ? positions.get(address) : undefined
      restored = position === undefined ? '' : address
      window.scrollTo(0, position ?? 0)
    }
    wentBack = false
    const remember = () => positions.set(address, window.scrollY)
    window.addEventListener('scroll', remember, { passive: true })
    return () => window.removeEventListener('scroll', remember)
  }, [view, key, address])
}

/** Whether `address` was scrolled to its former position. */
export function isRestored(address: string): boolean {
  return restored === address
}
