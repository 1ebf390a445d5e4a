import { createContext, useContext, useEffect, useSyncExternalStore } from 'react'
import type { RunMetadata } from '../interpAPI'
import { readLooks, withLook, type Looks } from '../lib/looks'

/** The name under which the browser's storage keeps the looks at the shown run; `App` provides it. */
export const LooksContext = createContext<string | undefined>(undefined)

export function looksName(run: Pick<RunMetadata, 'run_id' | 'sae_hash' | 'created_at'> | undefined): string | undefined {
  return run && `looks ${run.sae_hash} ${run.run_id} ${run.created_at}`
}

/** The features and headlines of the shown run that were opened. The count stays in this browser. */
export function useLooks(): Looks {
  const name = useContext(LooksContext)
  return readLooks(useSyncExternalStore(subscribe, () => stored(name)))
}

/** Remember that a feature or a headline was opened. */
export function useLook(kind: keyof Looks, one: string | undefined): void {
  const name = useContext(LooksContext)
  useEffect(() => {
    if (name === undefined || one === undefined) return
    const before = readLooks(stored(name))
    const after = withLook(before, kind, one)
    if (after !== before) write(name, JSON.stringify(after))
  }, [name, kind, one])
}

/** Reset the count of opened features and headlines of the shown run. */
export function useForgetLooks(): () => void {
  const name = useContext(LooksContext)
  return () => {
    if (name !== undefined) write(name, null)
  }
}

// Where the browser forbids storage, looks last as long as the page.
const kept = new Map<string, string>()

function stored(name: string | undefined): string | null {
  if (name === undefined) return null
  try {
    return localStorage.getItem(name) ?? kept.get(name) ?? null
  } catch {
    return kept.get(name) ?? null
  }
}

function write(name: string, text: string | null): void {
  kept.delete(name)
  try {
    if (text === null) localStorage.removeItem(name)
    else localStorage.setItem(name, text)
  } catch {
    if (text !== null) kept.set(name, text)
  }
  window.dispatchEvent(new Event('looks'))
}

function subscribe(notify: () => void): () => void {
  window.addEventListener('looks', notify)
  window.addEventListener('storage', notify)
  return () => {
    window.removeEventListener('looks', notify)
    window.removeEventListener('storage', notify)
  }
}
