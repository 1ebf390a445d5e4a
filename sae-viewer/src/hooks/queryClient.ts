import { QueryClient } from '@tanstack/react-query'
import type { ApiError } from '../interpAPI'

/** How long after a failure that may pass by itself the API is asked again, in ms. */
export const RETRY_MS = 2_000
/** How often what can change on the server is asked again, in ms. */
export const REFRESH_MS = 15_000

declare module '@tanstack/react-query' {
  interface Register {
    defaultError: ApiError
  }
}

/**
 * The cache of answers. A run never changes once it is written, so an answer stays fresh. A failed request is
 * repeated until it succeeds, sooner where the cause may pass by itself: no view needs a reload.
 */
export const queryClient = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: Infinity,
      gcTime: 10 * 60_000,
      retry: false,
      networkMode: 'always',
      refetchOnWindowFocus: false,
      refetchInterval: ({ state: { error } }) => (error ? (error.passes ? RETRY_MS : REFRESH_MS) : false),
    },
  },
})
