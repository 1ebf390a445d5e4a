import { useQuery, type UseQueryResult } from '@tanstack/react-query'
import { get, type EvidenceAnswer } from '../../interpAPI'

/** What `compare` found about a run's SAE: its baselines and its other seeds. */
export function useEvidence(run: string): UseQueryResult<EvidenceAnswer> {
  return useQuery({
    queryKey: ['evidence', run],
    queryFn: ({ signal }) => get('/api/evidence', { run }, signal),
  })
}
