/** What the panel over the tabs asks of the API. */

import { keepPreviousData, useQuery, type UseQueryResult } from '@tanstack/react-query'
import { get, type CompareAnswer, type Headline, type HeadlinesQuery } from '../../interpAPI'

/** How many features fire on which share of the tokens. */
export function useDensity(run: string) {
  return useQuery({
    queryKey: ['density', run],
    queryFn: ({ signal }) => get('/api/feature_density', { run }, signal),
  })
}

/** Runs side by side: their figures, one headline under each, a feature of the first found in the others. */
export function useComparison(runs: string[], headlineId: string | undefined, feature: number | undefined): UseQueryResult<CompareAnswer> {
  return useQuery({
    queryKey: ['compare', runs, headlineId ?? null, feature ?? null],
    queryFn: ({ signal }) => get('/api/compare', { runs: runs.join(','), headline_id: headlineId, feature }, signal),
    placeholderData: keepPreviousData,
  })
}

/** The headline that a search finds first, from `offset` on. */
export function useOneHeadline(query: HeadlinesQuery): UseQueryResult<Headline | null> {
  return useQuery({
    queryKey: ['one headline', query],
    queryFn: async ({ signal }) => (await get('/api/headlines', { ...query, limit: 1 }, signal)).headlines[0] ?? null,
    placeholderData: keepPreviousData,
  })
}
