import { useQuery } from '@tanstack/react-query'
import { get, type SimilarHeadline } from '../../interpAPI'

/** The headlines that are nearest to one in feature space, most similar first. */
export function useSimilarHeadlines(run: string, headline: number, limit: number) {
  return useQuery({
    queryKey: ['similar headlines', run, headline, limit],
    queryFn: async ({ signal }): Promise<SimilarHeadline[]> =>
      (await get('/api/similar_headlines', { run, headline, limit }, signal)).similar,
  })
}
