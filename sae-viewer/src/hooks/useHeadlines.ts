import { get, type Headline, type HeadlinesPage, type HeadlinesQuery } from '../interpAPI'
import type { HeadlinesAddress } from '../lib/address'
import { usePages, type Pages, type Range } from './usePages'

/** The list of headlines that an address describes, as a query of `/api/headlines`. */
export function headlinesQuery(address: HeadlinesAddress, run: string): HeadlinesQuery {
  const { q, where, label, prediction, correct, feature, minConfidence, maxConfidence, sort, order } = address
  return { run, q, where: [...where], label, prediction, correct, feature, min_confidence: minConfidence, max_confidence: maxConfidence, sort, order }
}

/** The headlines that a query finds, loaded where they are in sight. */
export function useHeadlines(query: HeadlinesQuery, range: Range): Pages<HeadlinesPage, Headline> {
  return usePages('headlines', query, range, fetchHeadlines, (page) => page.headlines)
}

const fetchHeadlines = (query: HeadlinesQuery, signal: AbortSignal) => get('/api/headlines', query, signal)
