import { useQuery, type UseQueryResult } from '@tanstack/react-query'
import type { Sae } from '../../hooks/useLabels'
import { get, type SetAnswer } from '../../interpAPI'

/** A set of features of a run's SAE, and where other SAEs have them; nothing where it is gone. */
export function useSet({ run_id, sae_hash }: Sae, name: string): UseQueryResult<SetAnswer | null> {
  return useQuery({
    queryKey: ['sets', sae_hash, run_id, name],
    // A shared run answers with all of its sets.
    queryFn: async ({ signal }) => (await get('/api/sets', { run: run_id, name }, signal)).sets.find((one) => one.name === name) ?? null,
  })
}
