import { useQuery, type UseQueryResult } from '@tanstack/react-query'
import { get, type DiffAnswer } from '../../interpAPI'

/** Which features fine-tuning changed. */
export function useDiff(run: string): UseQueryResult<DiffAnswer> {
  return useQuery({
    queryKey: ['diff', run],
    queryFn: ({ signal }) => get('/api/diff', { run }, signal),
  })
}
