import { keepPreviousData, useQueries, useQuery } from '@tanstack/react-query'
import type { ApiError } from '../interpAPI'

/** Rows that one request asks for. */
const PAGE = 50

/** Rows of a list that are in sight, 0-based and inclusive. */
export type Range = readonly [first: number, last: number]

export interface Pages<Page, Item> {
  /** The first page; while a changed query loads, the first page of the query before. */
  first: Page | undefined
  /** Names the query that `first` answers. */
  shown: string
  /** Whether `first` answers an earlier query than the present one. */
  stale: boolean
  /** The item of a row; undefined while its page loads. */
  at: (row: number) => Item | undefined
  error: ApiError | null
  retry: () => void
}

/** A long list, page by page: the first page and those in sight. */
export function usePages<Page, Item, Query>(
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
