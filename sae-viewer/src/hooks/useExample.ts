import { useQuery } from '@tanstack/react-query'
import { get } from '../interpAPI'

/** The headline in which a feature is strongest; undefined while it loads and where none was saved. */
export function useExample(run: string, feature: number | undefined): string | undefined {
  return useQuery({
    queryKey: ['strongest headline', run, feature],
    queryFn: async ({ signal }) => (await get('/api/feature_info', { run, id: feature ?? 0 }, signal)).examples[0]?.prompt.text ?? '',
    enabled: feature !== undefined,
  }).data
}
