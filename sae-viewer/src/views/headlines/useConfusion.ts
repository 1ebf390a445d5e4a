import { keepPreviousData, useQuery } from '@tanstack/react-query'
import { get, type HeadlinesQuery } from '../../interpAPI'

export type ConfusionQuery = Pick<HeadlinesQuery, 'run' | 'q' | 'feature' | 'min_confidence' | 'max_confidence'>

/**
 * How many headlines each pair of true class and predicted class has under the search and the feature filter:
 * [label][prediction]. Asked one after the other, so that the list of headlines comes first.
 */
export function useConfusion(query: ConfusionQuery, nLabels: number): number[][] | undefined {
  return useQuery({
    queryKey: ['confusion', query, nLabels],
    queryFn: async ({ signal }) => {
      const counts: number[][] = []
      for (let label = 0; label < nLabels; label++) {
        const row: number[] = []
        for (let prediction = 0; prediction < nLabels; prediction++) {
          const page = await get('/api/headlines', { ...query, label, prediction, limit: 1 }, signal)
          row.push(page.total)
        }
        counts.push(row)
      }
      return counts
    },
    placeholderData: keepPreviousData,
  }).data
}
