/** What the bench asks of a server with --live. Answers about one text do not change, so they are kept. */

import { keepPreviousData, useMutation, useQuery } from '@tanstack/react-query'
import { SHARED } from '../../base'
import { post, type ApiError } from '../../interpAPI'
import type { FeatureEdit } from '../../lib/bench'

/** Features that a text is read with. */
const TOP = 12
/** Nodes of the integrated gradients: as many as `intervene` takes, so that both give a feature the same share; fewer where the browser computes. */
const STEPS = SHARED === undefined ? 8 : 4
/** The most features that a flip may ablate. */
const FLIP_SIZE = 20

/** A busy server (429) is asked the same again a little later: that is no failure. */
export const whileBusy = {
  retry: (failures: number, error: ApiError) => error.status === 429 && failures < 8,
  retryDelay: 700,
}
const live = { ...whileBusy, refetchInterval: false as const }

/** What the classifier makes of a text: first by gradients alone, then with whole integration paths and ablations. */
export function useProbe(run: string, text: string, enabled: boolean) {
  const asked = enabled && text.trim() !== ''
  const quick = useQuery({
    queryKey: ['probe', run, text, 0],
    queryFn: ({ signal }) => post('/api/probe', { run, text, top: TOP, steps: 0, ablate: 0 }, signal),
    placeholderData: keepPreviousData,
    enabled: asked,
    ...live,
  })
  const whole = useQuery({
    queryKey: ['probe', run, text, 1],
    queryFn: ({ signal }) => post('/api/probe', { run, text, top: TOP, steps: STEPS, ablate: TOP }, signal),
    enabled: asked && quick.isSuccess && !quick.isPlaceholderData,
    ...live,
  })
  return { data: whole.data ?? quick.data, error: quick.error ?? whole.error, stale: quick.isPlaceholderData, whole: whole.data }
}

/** The prediction for a text after edits of its features. */
export function useIntervene(run: string, text: string, edits: FeatureEdit[], enabled: boolean) {
  return useQuery({
    queryKey: ['intervene', run, text, edits],
    queryFn: ({ signal }) => post('/api/intervene', { run, text, edits: edits.map((edit) => ({ ...edit, positions: null })), separately: false }, signal),
    placeholderData: keepPreviousData,
    enabled: enabled && edits.length > 0 && text.trim() !== '',
    gcTime: 60_000,
    ...live,
  })
}

/** The smallest set of features whose ablation changes the prediction, searched when a button asks for it. */
export function useFlip(run: string) {
  return useMutation({
    mutationFn: ({ text, target }: { text: string; target: number | undefined }) =>
      post('/api/flip', { run, text, target: target ?? null, level: 0, max_size: FLIP_SIZE }),
    ...whileBusy,
  })
}
