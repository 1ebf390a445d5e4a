import { useIsFetching, useQuery } from '@tanstack/react-query'
import { useEffect, useState } from 'react'
import { get } from '../interpAPI'
import { REFRESH_MS, RETRY_MS } from './queryClient'

/** An answer that takes longer than this is announced as slow, in ms. */
const SLOW_MS = 3_000

/** Whether the API answers and which run it serves by default, asked again every 15 seconds. */
export function useHealth() {
  return useQuery({
    queryKey: ['health'],
    queryFn: ({ signal }) => get('/api/health', {}, signal),
    staleTime: 0,
    refetchOnWindowFocus: true,
    refetchInterval: ({ state }) => (state.status === 'error' ? RETRY_MS : REFRESH_MS),
  })
}

/** Whether some answer has been on its way for more than three seconds. */
export function useSlow(): boolean {
  const waiting = useIsFetching({ predicate: ({ queryKey, state }) => queryKey[0] !== 'health' && !state.error }) > 0
  const [slow, setSlow] = useState(false)
  useEffect(() => {
    const timer = setTimeout(() => setSlow(waiting), waiting ? SLOW_MS : 0)
    return () => clearTimeout(timer)
  }, [waiting])
  return slow && waiting
}
