import { keepPreviousData, useQuery, type UseQueryResult } from '@tanstack/react-query'
import { get, type CompareAnswer, type Headline, type HeadlinesQuery } from '../../interpAPI'

/** Several runs side by side: their figures, one headline in each, and a feature of the first run found in the others. */
export function useComparison(runs: string[], headlineId: string | undefined, feature: number | undefined): UseQueryResult<CompareAnswer> {
  return useQuery({
    queryKey: ['compare', runs, headlineId ?? null, feature ?? null],
    queryFn: ({ signal }) => get('/api/compare', { runs: runs.join(','), headline_id: headlineId, feature }, signal),
    placeholderData: keepPreviousData,
  })
}

/** The first headline that a query finds; null where it finds none. */
export function useOneHeadline(query: HeadlinesQuery): UseQueryResult<Headline | null> {
  return useQuery({
    queryKey: ['one headline', query],
    queryFn: async ({ signal }) => (await get('/api/headlines', { ...query, limit: 1 }, signal)).headlines[0] ?? null,
    placeholderData: keepPreviousData,
  })
}
