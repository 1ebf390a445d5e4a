/** The search by meaning, which a page without a server does not have. */

import { SHARED } from '../base'

/** How the API is asked for a text: undefined for a search by words, which is its default. */
export function searchedBy(q: string, by: 'words' | 'meaning'): 'meaning' | undefined {
  return by === 'meaning' && q.trim() !== '' && SHARED === undefined ? 'meaning' : undefined
}

/** A search as one of the filters of a list: “cuts”, or means “merger talk”. */
export function searchChip({ q, by }: { q: string; by: 'words' | 'meaning' }): string {
  return searchedBy(q, by) ? `means “${q}”` : `“${q}”`
}
