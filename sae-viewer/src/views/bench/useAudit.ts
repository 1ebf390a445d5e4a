import { useEffect, useRef, useState } from 'react'
import { post, type ApiError, type Audit } from '../../interpAPI'
import { whileBusy } from './useLive'

/** Headlines that one request audits. */
const PART = 64

export interface AuditProgress {
  features: number[]
  /** The answers so far, each about one part of the run's headlines. */
  parts: Audit[]
  /** How many headlines the run holds; undefined before the first answer. */
  total: number | undefined
  error: ApiError | undefined
  running: boolean
}

const IDLE: AuditProgress = { features: [], parts: [], total: undefined, error: undefined, running: false }

/** Ablates a set of features in every headline of the run, part by part, until it is done, stopped or left. */
export function useAudit(run: string) {
  const [progress, setProgress] = useState(IDLE)
  const control = useRef<AbortController>(undefined)
  useEffect(() => () => control.current?.abort(), [])

  async function start(features: number[]) {
    control.current?.abort()
    const { signal } = (control.current = new AbortController())
    setProgress({ ...IDLE, features, running: true })
    try {
      for (let offset = 0, total = 1; offset < total; offset += PART) {
        const part = await retryWhileBusy(() => post('/api/audit', { run, features, offset, limit: PART }, signal))
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

async function retryWhileBusy<T>(ask: () => Promise<T>): Promise<T> {
  for (let failures = 0; ; failures++) {
    try {
      return await ask()
    } catch (error) {
      if (!whileBusy.retry(failures, error as ApiError)) throw error
      await new Promise((done) => setTimeout(done, whileBusy.retryDelay))
    }
  }
}
