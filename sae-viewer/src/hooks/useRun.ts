import { keepPreviousData, useQuery, type UseQueryResult } from '@tanstack/react-query'
import { get, type RunMetadata } from '../interpAPI'

/** The metadata of a run; of the served run when `run` is undefined. */
export function useRun(run: string | undefined): UseQueryResult<RunMetadata> {
  return useQuery({
    queryKey: ['run', run ?? null],
    queryFn: ({ signal }) => get('/api/run', { run }, signal),
    placeholderData: keepPreviousData,
  })
}
