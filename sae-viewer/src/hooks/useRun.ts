import { keepPreviousData, useQuery, type UseQueryResult } from '@tanstack/react-query'
import { get, type Run } from '../interpAPI'

/** How a run was made, and which of its files are damaged; the served run when `run` is undefined. */
export function useRun(run: string | undefined): UseQueryResult<Run> {
  return useQuery({
    queryKey: ['run', run ?? null],
    queryFn: ({ signal }) => get('/api/run', { run }, signal),
    placeholderData: keepPreviousData,
  })
}
