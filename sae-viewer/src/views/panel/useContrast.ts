import { useQuery, type UseQueryResult } from '@tanstack/react-query'
import { get, type ContrastAnswer } from '../../interpAPI'

/** What small changes of texts do to a run's predictions and features. */
export function useContrast(run: string): UseQueryResult<ContrastAnswer> {
  return useQuery({
    queryKey: ['contrast', run],
    queryFn: ({ signal }) => get('/api/contrast', { run }, signal),
  })
}
