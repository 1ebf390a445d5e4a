import { useQuery } from '@tanstack/react-query'
import { get } from '../interpAPI'

/** The histogram of features over the share of tokens on which they fire. */
export function useDensity(run: string) {
  return useQuery({
    queryKey: ['density', run],
    queryFn: ({ signal }) => get('/api/feature_density', { run }, signal),
  })
}
