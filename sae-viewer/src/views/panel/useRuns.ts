import { useQuery } from '@tanstack/react-query'
import { get } from '../../interpAPI'

/** All runs of the server, newest first; asked again whenever a list of them opens. */
export function useRuns() {
  return useQuery({
    queryKey: ['runs'],
    queryFn: ({ signal }) => get('/api/runs', {}, signal),
    staleTime: 0,
  })
}
