/** What was opened of a run in this browser, so that a claim can say among how many features it was chosen. */

export interface Looks {
  /** Numbers of features whose page or card was opened. */
  features: string[]
  /** Ids of headlines that were opened. */
  headlines: string[]
}

export const NO_LOOKS: Looks = { features: [], headlines: [] }

/** How many of a kind are remembered; beyond it the count stands still. */
const MOST = 20_000

/** What the browser's storage holds; nothing where it is not what `JSON.stringify` wrote of `Looks`. */
export function readLooks(stored: string | null): Looks {
  try {
    const found: unknown = JSON.parse(stored ?? '')
    return { features: texts(found, 'features'), headlines: texts(found, 'headlines') }
  } catch {
    return NO_LOOKS
  }
}

function texts(found: unknown, kind: keyof Looks): string[] {
  const listed = typeof found === 'object' && found !== null && kind in found ? (found as Record<string, unknown>)[kind] : []
  return Array.isArray(listed) ? [...new Set(listed.filter((one): one is string => typeof one === 'string'))].slice(0, MOST) : []
}

/** The same looks and one more; the very same object where it is known already. */
export function withLook(looks: Looks, kind: keyof Looks, name: string): Looks {
  if (looks[kind].includes(name) || looks[kind].length >= MOST) return looks
  return { ...looks, [kind]: [...looks[kind], name] }
}
