/** What the views of features ask beyond a page of the list. */

import { useQuery } from '@tanstack/react-query'
import { useEffect } from 'react'
import { get, type FeaturesQuery, type SimilarHeadline } from '../../interpAPI'
import { FEATURES, type FeaturesAddress } from '../../lib/address'
import { featureQuery, queryClient } from '../../hooks/useApi'

/** The list that an address describes. */
export function featuresQuery(address: FeaturesAddress, run: string): FeaturesQuery {
  return {
    run,
    metric: address.metric,
    order: address.order === FEATURES.order ? undefined : address.order,
    q: address.q,
    token: address.token,
    evidence: address.evidence === 'all' ? undefined : address.evidence,
    min_density: address.minDensity,
    max_density: address.maxDensity,
    leaning: address.leaning,
    labelled: address.labelled ? true : undefined,
  }
}

/**
 * Where a feature stands in a list, 0-based (null: not in it), and the features before and after it. While the
 * answer is on its way all are undefined.
 */
export function useAround(query: FeaturesQuery, feature: number | undefined) {
  const { data } = useQuery({
    queryKey: ['around', query, feature],
    queryFn: ({ signal }) => get('/api/features', { ...query, around: feature, limit: 3 }, signal),
    enabled: feature !== undefined,
  })
  const place = data?.place
  const at = data?.features.findIndex((row) => row.feature === feature) ?? -1
  const previous = at < 0 ? undefined : data?.features[at - 1]?.feature
  const next = at < 0 ? undefined : data?.features[at + 1]?.feature
  // They are likely asked for next; then they are there at once.
  useEffect(() => {
    for (const neighbour of [previous, next]) {
      if (!query.run || neighbour === undefined) continue
      queryClient.query(featureQuery(query.run, neighbour)).catch(() => undefined)
    }
  }, [query.run, previous, next])
  return { place, previous, next }
}

/** Any feature of an address's list, each as likely, of all only those that fire; undefined where there is none. */
export async function randomFeature(address: FeaturesAddress, run: string): Promise<number | undefined> {
  const evidence = address.evidence === 'all' ? 'live' : address.evidence
  const asked = featuresQuery({ ...address, evidence }, run)
  const ask = (offset: number) =>
    queryClient.query({
      queryKey: ['any feature', asked, offset],
      queryFn: ({ signal }) => get('/api/features', { ...asked, offset, limit: 1 }, signal),
    })
  const { total } = await ask(0)
  const page = await ask(Math.floor(Math.random() * total))
  return page.features[0]?.feature
}

/** How many features fire how often. */
export function useDensity(run: string) {
  return useQuery({
    queryKey: ['density', run],
    queryFn: ({ signal }) => get('/api/feature_density', { run }, signal),
  })
}

/** Headlines nearest to one in feature space; the run's answer is the same each time. */
export function useSimilarHeadlines(run: string, headline: number, limit: number) {
  return useQuery({
    queryKey: ['similar headlines', run, headline, limit],
    queryFn: async ({ signal }): Promise<SimilarHeadline[]> =>
      (await get('/api/similar_headlines', { run, headline, limit }, signal)).similar,
  })
}
