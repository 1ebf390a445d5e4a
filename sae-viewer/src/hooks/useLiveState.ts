import { useQuery } from '@tanstack/react-query'
import { MAY_HAVE_BENCH } from '../base'
import { get } from '../interpAPI'

/** Whether the server has a model in memory, and within which limits it can be asked. */
export function useLiveState() {
  return useQuery({ queryKey: ['live'], queryFn: ({ signal }) => get('/api/live', {}, signal), staleTime: 0, enabled: MAY_HAVE_BENCH })
}
