import { useQuery, type UseQueryResult } from '@tanstack/react-query'
import { get, type LayersFile } from '../../interpAPI'

/** The comparison of the layers of a run's classifier. */
export function useLayers(run: string): UseQueryResult<LayersFile> {
  return useQuery({
    queryKey: ['layers', run],
    queryFn: ({ signal }) => get('/api/layers', { run }, signal),
  })
}
