/** What the views ask of the API. A run never changes once written, so its answers are kept. */

import {
  keepPreviousData,
  QueryClient,
  queryOptions,
  useIsFetching,
  useQueries,
  useQuery,
  type UseQueryResult,
} from '@tanstack/react-query'
import { useEffect, useState } from 'react'
import {
  ApiError,
  get,
  type FeatureInfo,
  type FeaturesPage,
  type FeaturesQuery,
  type FeatureRow,
  type Headline,
  type HeadlinesPage,
  type HeadlinesQuery,
  type RunMetadata,
} from '../interpAPI'

const ASK_AGAIN_MS = 2_000
const LOOK_AGAIN_MS = 15_000
const SLOW_MS = 3_000
export const PAGE = 50

declare module '@tanstack/react-query' {
  interface Register {
    defaultError: ApiError
  }
}

/** Whatever fails is asked again until it succeeds, soon where the reason can pass by itself: no view needs a reload. */
export const queryClient = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: Infinity,
      gcTime: 10 * 60_000,
      retry: false,
      networkMode: 'always',
      refetchOnWindowFocus: false,
      refetchInterval: ({ state: { error } }) => (error ? (error.passes ? ASK_AGAIN_MS : LOOK_AGAIN_MS) : false),
    },
  },
})

/** Whether the API is there, and which run it serves by default. Looked at again and again. */
export function useHealth() {
  return useQuery({
    queryKey: ['health'],
    queryFn: ({ signal }) => get('/api/health', {}, signal),
    staleTime: 0,
    refetchOnWindowFocus: true,
    refetchInterval: ({ state }) => (state.status === 'error' ? ASK_AGAIN_MS : LOOK_AGAIN_MS),
  })
}

/** Whether an answer has been waited for longer than one waits without a word. */
export function useSlow(): boolean {
  const waiting = useIsFetching({ predicate: ({ queryKey, state }) => queryKey[0] !== 'health' && !state.error }) > 0
  const [slow, setSlow] = useState(false)
  useEffect(() => {
    const timer = setTimeout(() => setSlow(waiting), waiting ? SLOW_MS : 0)
    return () => clearTimeout(timer)
  }, [waiting])
  return slow && waiting
}

/** How the run was made; the served run when `run` is undefined. */
export function useRun(run: string | undefined): UseQueryResult<RunMetadata> {
  return useQuery({
    queryKey: ['run', run ?? null],
    queryFn: ({ signal }) => get('/api/run', { run }, signal),
    placeholderData: keepPreviousData,
  })
}

export function useRuns(enabled: boolean) {
  return useQuery({
    queryKey: ['runs'],
    queryFn: ({ signal }) => get('/api/runs', {}, signal),
    staleTime: 0,
    enabled,
  })
}

export function useFeature(run: string, feature: number): UseQueryResult<FeatureInfo> {
  return useQuery(featureQuery(run, feature))
}

export const featureQuery = (run: string, feature: number) =>
  queryOptions({
    queryKey: ['feature', run, feature],
    queryFn: ({ signal }) => get('/api/feature_info', { run, id: feature }, signal),
  })

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

export type ConfusionQuery = Pick<HeadlinesQuery, 'run' | 'q' | 'feature' | 'min_confidence' | 'max_confidence'>

/** How many headlines have the feature among their strongest. */
export function useHeadlineCount(run: string, feature: number): number | undefined {
  return useQuery({
    queryKey: ['headline count', run, feature],
    queryFn: async ({ signal }) => (await get('/api/headlines', { run, feature, limit: 1 }, signal)).total,
  }).data
}

export function useHeadlines(query: HeadlinesQuery, range: Range): Pages<HeadlinesPage, Headline> {
  return usePages('headlines', query, range, fetchHeadlines, (page) => page.headlines)
}

export function useFeatures(query: FeaturesQuery, range: Range): Pages<FeaturesPage, FeatureRow> {
  return usePages('features', query, range, fetchFeatures, (page) => page.features)
}

const fetchHeadlines = (query: HeadlinesQuery, signal: AbortSignal) => get('/api/headlines', query, signal)
const fetchFeatures = (query: FeaturesQuery, signal: AbortSignal) => get('/api/features', query, signal)

/** Rows of a list that are in sight, 0-based and inclusive. */
export type Range = readonly [first: number, last: number]

export interface Pages<Page, Item> {
  /** The first page; while a changed query loads, that of the query before. */
  first: Page | undefined
  /** Names the query that `first` answers. */
  shown: string
  /** Whether `first` answers an earlier query than the one asked. */
  stale: boolean
  /** The item at a row; undefined while its page loads. */
  at: (row: number) => Item | undefined
  error: ApiError | null
  retry: () => void
}

/** A long list by pages: the first, and those that are in sight. */
function usePages<Page, Item, Query>(
  name: string,
  query: Query,
  [from, to]: Range,
  fetch: (query: Query & { offset: number; limit: number }, signal: AbortSignal) => Promise<Page>,
  items: (page: Page) => Item[],
): Pages<Page, Item> {
  const options = (page: number) => ({
    queryKey: [name, query, page],
    queryFn: async ({ signal }: { signal: AbortSignal }) => ({
      answers: JSON.stringify(query),
      page: await fetch({ ...query, offset: page * PAGE, limit: PAGE }, signal),
    }),
  })
  const first = useQuery({ ...options(0), placeholderData: keepPreviousData })
  const stale = first.isPlaceholderData
  const wanted: number[] = []
  for (let page = Math.max(1, Math.floor(from / PAGE)); page <= Math.floor(to / PAGE) && !stale; page++) wanted.push(page)
  const others = useQueries({ queries: wanted.map(options) })

  const failed = first.error ? first : others.find((other) => other.error)
  return {
    first: first.data?.page,
    shown: first.data?.answers ?? '',
    stale,
    at: (row) => {
      const page = Math.floor(row / PAGE)
      const data = page === 0 ? first.data : others[wanted.indexOf(page)]?.data
      return data && items(data.page)[row - page * PAGE]
    },
    error: failed?.error ?? null,
    retry: () => void failed?.refetch(),
  }
}
