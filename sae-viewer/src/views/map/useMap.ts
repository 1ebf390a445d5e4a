import { keepPreviousData, useQuery } from '@tanstack/react-query'
import type { ApiError, MapAnswer } from '../../interpAPI'
import { get } from '../../interpAPI'
import type { MapAddress } from '../../lib/address'
import { searchedBy } from '../../lib/meaning'

/** The most features that a search marks on the map: as many as one answer lists. */
export const MOST_MARKED = 500

/** The map of a run. */
export function useMap(run: string): { map: MapAnswer | undefined; error: ApiError | null; retry: () => void } {
  const { data, error, refetch } = useQuery({
    queryKey: ['map', run],
    queryFn: ({ signal }) => get('/api/map', { run }, signal),
  })
  return { map: data, error, retry: () => void refetch() }
}

export interface Found {
  /** The features that match; undefined while no search is asked for. */
  features: ReadonlySet<number> | undefined
  total: number
  /** Whether the first answer is on its way. */
  waiting: boolean
  error: ApiError | null
}

/** The features that an address's search finds. */
export function useFound({ q, by }: Pick<MapAddress, 'q' | 'by'>, run: string): Found {
  const { data, error, isFetching } = useQuery({
    queryKey: ['found on the map', run, q, by],
    queryFn: async ({ signal }) => {
      const query = { run, q, by: searchedBy(q, by), support: 'live', limit: MOST_MARKED } as const
      const page = await get('/api/features', query, signal)
      return { features: new Set(page.features.map(({ feature }) => feature)), total: page.total }
    },
    enabled: q.trim() !== '',
    placeholderData: keepPreviousData,
  })
  const asked = q.trim() !== ''
  return { features: asked ? data?.features : undefined, total: asked ? (data?.total ?? 0) : 0, waiting: asked && isFetching && !data, error: asked ? error : null }
}
