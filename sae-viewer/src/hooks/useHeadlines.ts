import { useQuery } from '@tanstack/react-query'
import { get, type Headline, type HeadlinesPage, type HeadlinesQuery } from '../interpAPI'
import type { HeadlinesAddress } from '../lib/address'
import { searchedBy } from '../lib/meaning'
import { usePages, type Pages, type Range } from './usePages'

/** The list of headlines that an address describes, as a query of `/api/headlines`. */
export function headlinesQuery(address: HeadlinesAddress, run: string): HeadlinesQuery {
  const { q, by, where, label, prediction, correct, feature, minConfidence, maxConfidence, sort, order } = address
  return { run, q, by: searchedBy(q, by), where: [...where], label, prediction, correct, feature, min_confidence: minConfidence, max_confidence: maxConfidence, sort, order }
}

/** The headlines that a query finds, loaded where they are in sight. */
export function useHeadlines(query: HeadlinesQuery, range: Range): Pages<HeadlinesPage, Headline> {
  return usePages('headlines', query, range, fetchHeadlines, (page) => page.headlines)
}

const fetchHeadlines = (query: HeadlinesQuery, signal: AbortSignal) => get('/api/headlines', query, signal)

/** A headline by its 0-based index in the run. */
export function useHeadline(run: string, headline: number | undefined): Headline | undefined {
  return useQuery({
    queryKey: ['headline', run, headline],
    queryFn: async ({ signal }) => (await get('/api/headlines', { run, limit: 1, offset: headline }, signal)).headlines[0] ?? null,
    enabled: headline !== undefined,
  }).data ?? undefined
}
