import { useQuery, type UseQueryResult } from '@tanstack/react-query'
import { get, type MendingAnswer } from '../../interpAPI'

/** The edits of features that mend a run's wrong predictions, and their test. */
export function useMending(run: string): UseQueryResult<MendingAnswer> {
  return useQuery({
    queryKey: ['mending', run],
    queryFn: ({ signal }) => get('/api/mending', { run }, signal),
  })
}
