/** What the bench asks of a server with --live. Answers about one text do not change, so they are kept. */

import { keepPreviousData, useMutation, useQuery } from '@tanstack/react-query'
import { useEffect, useRef, useState } from 'react'
import { get, post, type ApiError, type Audit } from '../../interpAPI'
import type { BenchEdit } from '../../lib/bench'

/** Busy is no failure: the same question again, a little later. */
const again = {
  retry: (failures: number, error: ApiError) => error.status === 429 && failures < 8,
  retryDelay: 700,
  refetchInterval: false as const,
}
const AUDIT_PART = 64

/** Whether there is a model to ask, and how to get one. */
export function useLiveState() {
  return useQuery({ queryKey: ['live'], queryFn: ({ signal }) => get('/api/live', {}, signal), staleTime: 0 })
}

/** A text read: at once by gradients, then with a complete path and true ablations. */
export function useProbe(run: string, text: string, enabled: boolean) {
  const asked = enabled && text.trim() !== ''
  const quick = useQuery({
    queryKey: ['probe', run, text, 0],
    queryFn: ({ signal }) => post('/api/probe', { run, text, top: 12, steps: 0, ablate: 0 }, signal),
    placeholderData: keepPreviousData,
    enabled: asked,
    ...again,
  })
  const whole = useQuery({
    queryKey: ['probe', run, text, 1],
    queryFn: ({ signal }) => post('/api/probe', { run, text, top: 12, steps: 4, ablate: 12 }, signal),
    enabled: asked && quick.isSuccess && !quick.isPlaceholderData,
    ...again,
  })
  return { data: whole.data ?? quick.data, error: quick.error ?? whole.error, stale: quick.isPlaceholderData, whole: whole.data }
}

/** Probabilities before and after edits of a text. */
export function useIntervene(run: string, text: string, edits: BenchEdit[], enabled: boolean) {
  return useQuery({
    queryKey: ['intervene', run, text, edits],
    queryFn: ({ signal }) => post('/api/intervene', { run, text, edits: edits.map((edit) => ({ ...edit, positions: null })), separately: false }, signal),
    placeholderData: keepPreviousData,
    enabled: enabled && edits.length > 0 && text.trim() !== '',
    gcTime: 60_000,
    ...again,
  })
}

/** The smallest set of features that turns the prediction, asked for by a button. */
export function useFlip(run: string) {
  return useMutation({
    mutationFn: ({ text, target }: { text: string; target: number | undefined }) =>
      post('/api/flip', { run, text, target: target ?? null, level: 0, max_size: 20 }),
    retry: again.retry,
    retryDelay: again.retryDelay,
  })
}

export interface AuditProgress {
  features: number[]
  parts: Audit[]
  total: number | undefined
  error: ApiError | undefined
  running: boolean
}

const IDLE: AuditProgress = { features: [], parts: [], total: undefined, error: undefined, running: false }

/** Ablates a set of features in every headline of the run, part by part; `stop` and leaving end it. */
export function useAudit(run: string) {
  const [progress, setProgress] = useState(IDLE)
  const control = useRef<AbortController>(undefined)
  useEffect(() => () => control.current?.abort(), [])

  async function start(features: number[]) {
    control.current?.abort()
    const { signal } = (control.current = new AbortController())
    setProgress({ ...IDLE, features, running: true })
    try {
      for (let offset = 0, total = 1; offset < total; offset += AUDIT_PART) {
        const part = await patiently(() => post('/api/audit', { run, features, offset, limit: AUDIT_PART }, signal))
        total = part.n_headlines
        setProgress((now) => ({ ...now, parts: [...now.parts, part], total: part.n_headlines }))
      }
    } catch (error) {
      if (signal.aborted) return
      setProgress((now) => ({ ...now, error: error as ApiError }))
    }
    setProgress((now) => ({ ...now, running: false }))
  }
  function stop() {
    control.current?.abort()
    setProgress((now) => ({ ...now, running: false }))
  }
  return { ...progress, start, stop }
}

async function patiently<T>(ask: () => Promise<T>): Promise<T> {
  for (let failures = 0; ; failures++) {
    try {
      return await ask()
    } catch (error) {
      if (!again.retry(failures, error as ApiError)) throw error
      await new Promise((done) => setTimeout(done, again.retryDelay))
    }
  }
}
