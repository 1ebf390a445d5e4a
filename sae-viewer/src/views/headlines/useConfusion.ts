import { keepPreviousData, useQuery } from '@tanstack/react-query'
import { get, type HeadlinesQuery } from '../../interpAPI'
import type { HeadlinesAddress } from '../../lib/address'
import { searchedBy } from '../../lib/meaning'

export type ConfusionQuery = Pick<HeadlinesQuery, 'run' | 'q' | 'by' | 'where' | 'feature' | 'min_confidence' | 'max_confidence'>

/** How many headlines each pair of true class and predicted class has under the filters: [label][prediction]. */
export function useConfusion(query: ConfusionQuery): number[][] | undefined {
  return useQuery({
    queryKey: ['confusion', query],
    queryFn: async ({ signal }) => (await get('/api/confusion', query, signal)).counts,
    placeholderData: keepPreviousData,
  }).data
}

/** The filters of an address that the matrix counts under: all but those by class. */
export function confusionQuery(address: HeadlinesAddress, run: string): ConfusionQuery {
  const { q, by, where, feature, minConfidence, maxConfidence } = address
  return { run, q, by: searchedBy(q, by), where: [...where], feature, min_confidence: minConfidence, max_confidence: maxConfidence }
}
