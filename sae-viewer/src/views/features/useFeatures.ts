/** The list of features that an address describes: its pages, the rank of a feature in it, a random one of its features. */

import { useQuery } from '@tanstack/react-query'
import { useEffect } from 'react'
import { queryClient } from '../../hooks/queryClient'
import { featurePages } from '../../hooks/useListExport'
import { usePages, type Pages, type Range } from '../../hooks/usePages'
import { get, type FeatureRow, type FeaturesPage, type FeaturesQuery } from '../../interpAPI'
import { FEATURES, type FeaturesAddress } from '../../lib/address'
import { searchedBy } from '../../lib/meaning'
import { featureQuery } from './useFeature'

/** The list that an address describes, as a query of `/api/features`. */
export function featuresQuery(address: FeaturesAddress, run: string): FeaturesQuery {
  return {
    run,
    metric: address.metric,
    order: address.order === FEATURES.order ? undefined : address.order,
    q: address.q,
    by: searchedBy(address.q, address.by),
    where: [...address.where],
    token: address.token,
    support: address.support === 'all' ? undefined : address.support,
    min_density: address.minDensity,
    max_density: address.maxDensity,
    leaning: address.leaning,
    min_seeds: address.minSeeds,
    labelled: address.labelled ? true : undefined,
    set: address.set || undefined,
  }
}

/** The features that a query finds, loaded where they are in sight. */
export function useFeatures(query: FeaturesQuery, range: Range): Pages<FeaturesPage, FeatureRow> {
  return usePages('features', query, range, fetchFeatures, (page) => page.features)
}

const fetchFeatures = (query: FeaturesQuery, signal: AbortSignal) => get('/api/features', query, signal)

/** The numbers of the first features that a query finds, `most` at most. */
export async function firstFeatures(query: FeaturesQuery, most: number): Promise<number[]> {
  const { signal } = new AbortController()
  const page = featurePages(query)
  const found: number[] = []
  for (let total = most; found.length < Math.min(total, most); ) {
    const { items, total: all } = await page(found.length, signal)
    total = items.length > 0 ? all : 0
    found.push(...items.map(({ feature }) => feature))
  }
  return found.slice(0, most)
}

/**
 * A feature's 0-based rank in a list (null: the list does not hold it) and the features before and after it.
 * All three are undefined while the answer is on its way.
 */
export function useAround(query: FeaturesQuery, feature: number | undefined) {
  const { data } = useQuery({
    queryKey: ['around', query, feature],
    queryFn: ({ signal }) => get('/api/features', { ...query, around: feature, limit: 3 }, signal),
    enabled: feature !== undefined,
  })
  const rank = data?.place
  const at = data?.features.findIndex((row) => row.feature === feature) ?? -1
  const previous = at < 0 ? undefined : data?.features[at - 1]?.feature
  const next = at < 0 ? undefined : data?.features[at + 1]?.feature
  // The neighbours are the likeliest next pages, so they are loaded ahead.
  useEffect(() => {
    for (const neighbour of [previous, next]) {
      if (!query.run || neighbour === undefined) continue
      queryClient.query(featureQuery(query.run, neighbour)).catch(() => undefined)
    }
  }, [query.run, previous, next])
  return { rank, previous, next }
}

/**
 * A random feature of an address's list, all equally likely; undefined where the list is empty. Where the address
 * asks for any support, features that never fire are left out.
 */
export async function randomFeature(address: FeaturesAddress, run: string): Promise<number | undefined> {
  const support = address.support === 'all' ? 'live' : address.support
  const query = featuresQuery({ ...address, support }, run)
  const page = (offset: number) =>
    queryClient.query({
      queryKey: ['random feature', query, offset],
      queryFn: ({ signal }) => get('/api/features', { ...query, offset, limit: 1 }, signal),
    })
  const { total } = await page(0)
  const { features } = await page(Math.floor(Math.random() * total))
  return features[0]?.feature
}
