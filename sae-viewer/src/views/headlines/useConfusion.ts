import { keepPreviousData, useQuery } from '@tanstack/react-query'
import { get, type HeadlinesQuery } from '../../interpAPI'

export type ConfusionQuery = Pick<HeadlinesQuery, 'run' | 'q' | 'feature' | 'min_confidence' | 'max_confidence'>

/** How many headlines each pair of true class and predicted class has under the filters: [label][prediction]. */
export function useConfusion(query: ConfusionQuery): number[][] | undefined {
  return useQuery({
    queryKey: ['confusion', query],
    queryFn: async ({ signal }) => (await get('/api/confusion', query, signal)).counts,
    placeholderData: keepPreviousData,
  }).data
}
