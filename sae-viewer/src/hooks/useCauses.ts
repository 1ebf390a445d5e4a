import { useQuery, type UseQueryResult } from '@tanstack/react-query'
import { get, type InterventionsAnswer } from '../interpAPI'

/** What `intervene` found about a run's predictions as a whole; nothing is asked without a run. */
export function useCauses(run: string | undefined): UseQueryResult<InterventionsAnswer> {
  return useQuery({
    queryKey: ['interventions', run],
    enabled: run !== undefined,
    queryFn: ({ signal }) => get('/api/interventions', { run }, signal),
  })
}
