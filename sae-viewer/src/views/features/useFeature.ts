import { queryOptions, useQuery, type UseQueryResult } from '@tanstack/react-query'
import { get, type FeatureCard, type FeatureInfo } from '../../interpAPI'

/** The statistics, words and examples of one feature. */
export function useFeature(run: string, feature: number): UseQueryResult<FeatureInfo> {
  return useQuery(featureQuery(run, feature))
}

export const featureQuery = (run: string, feature: number) =>
  queryOptions({
    queryKey: ['feature', run, feature],
    queryFn: ({ signal }) => get('/api/feature_info', { run, id: feature }, signal),
  })

/** How many headlines have the feature among their strongest. */
export function useHeadlineCount(run: string, feature: number): number | undefined {
  return useQuery({
    queryKey: ['headline count', run, feature],
    queryFn: async ({ signal }) => (await get('/api/headlines', { run, feature, limit: 1 }, signal)).total,
  }).data
}

/** What can be claimed of a feature; `seen` is how much of the run was looked at before. */
export function useCard(run: string, feature: number, seen: { features: number; headlines: number }): UseQueryResult<FeatureCard> {
  return useQuery({
    queryKey: ['card', run, feature, seen.features, seen.headlines],
    queryFn: ({ signal }) =>
      get('/api/feature_card', { run, id: feature, features_seen: seen.features, headlines_seen: seen.headlines }, signal),
  })
}
