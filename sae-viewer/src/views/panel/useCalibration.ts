import { useQuery, type UseQueryResult } from '@tanstack/react-query'
import { get, type CalibrationAnswer } from '../../interpAPI'

/** How far a run's probabilities can be trusted, and when the classifier should abstain. */
export function useCalibration(run: string): UseQueryResult<CalibrationAnswer> {
  return useQuery({
    queryKey: ['calibration', run],
    queryFn: ({ signal }) => get('/api/calibration', { run }, signal),
  })
}
