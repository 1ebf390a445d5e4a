/** Human labels of features: read once for all chips, saved so that nobody's change is lost. */

import { useQuery } from '@tanstack/react-query'
import { createContext, use, useEffect } from 'react'
import { ApiError, get, putLabels, type FeatureLabel, type LabelsAnswer, type RunMetadata } from '../interpAPI'
import { mergeLabel, said, UNSAID, type Labels, type Merged, type Said } from '../lib/labels'
import { queryClient } from './queryClient'

const LOOK_AGAIN_MS = 30_000
const ATTEMPTS = 5

type Sae = Pick<RunMetadata, 'run_id' | 'sae_hash'>
const key = ({ sae_hash }: Sae) => ['labels', sae_hash]

const NONE: Labels = {}
/** The labels of the run that is shown; `App` provides them. */
export const LabelsContext = createContext<Labels>(NONE)

/** The label of a feature of the run that is shown. */
export function useLabel(feature: number): FeatureLabel | undefined {
  return use(LabelsContext)[feature]
}

/** All labels of the run's SAE; looked at again when another tab saves, and now and then. */
export function useLabels(run: Sae | undefined): { labels: Labels; error: ApiError | null } {
  const { data, error } = useQuery({
    queryKey: key(run ?? { run_id: '', sae_hash: '' }),
    queryFn: ({ signal }) => get('/api/labels', { run: run?.run_id }, signal),
    enabled: run !== undefined,
    staleTime: LOOK_AGAIN_MS,
    refetchOnWindowFocus: true,
    refetchInterval: LOOK_AGAIN_MS,
  })
  useEffect(() => {
    const tabs = new BroadcastChannel('labels')
    tabs.onmessage = () => void queryClient.invalidateQueries({ queryKey: ['labels'] })
    return () => tabs.close()
  }, [])
  return { labels: data?.labels ?? NONE, error }
}

/** Somebody else changed the same fields of the same feature; nothing was saved. */
export class LabelConflict extends Error {
  constructor(
    readonly theirs: Said,
    readonly fields: Merged['conflicts'],
  ) {
    super('In the meantime this label was changed elsewhere.')
  }
}

let saving: Promise<unknown> = Promise.resolve()

/**
 * Save `mine`, which was edited from `base`, on top of whatever is there now. Raises `LabelConflict` where both
 * changed the same, `ApiError` where the API refuses. Saves of this tab go one after the other.
 */
export function saveLabel(run: Sae, feature: number, base: Said, mine: Said): Promise<Said> {
  const mySave = saving.then(() => save(run, feature, base, mine))
  saving = mySave.catch(() => undefined)
  return mySave
}

async function save(run: Sae, feature: number, base: Said, mine: Said): Promise<Said> {
  let known = queryClient.getQueryData<LabelsAnswer>(key(run))
  for (let attempt = 1; ; attempt++) {
    known ??= await get('/api/labels', { run: run.run_id })
    const theirs = said(known.labels[feature] ?? UNSAID)
    const { label, conflicts } = mergeLabel(base, mine, theirs)
    if (conflicts.length > 0) {
      queryClient.setQueryData(key(run), known)
      throw new LabelConflict(theirs, conflicts)
    }
    try {
      const answer = await putLabels(run.run_id, { ...known.labels, [feature]: { ...label, updated_at: null } }, known.etag)
      publish(run, answer)
      return said(answer.labels[feature] ?? UNSAID)
    } catch (error) {
      const late = error instanceof ApiError && error.status === 412
      if (!late || attempt === ATTEMPTS) throw error
      known = undefined
    }
  }
}

/** Show what was saved here, and tell the other tabs. */
function publish(run: Sae, answer: LabelsAnswer): void {
  queryClient.setQueryData(key(run), answer)
  void queryClient.invalidateQueries({ queryKey: ['features'] }) // they are searched by label
  const tabs = new BroadcastChannel('labels')
  tabs.postMessage(run.sae_hash)
  tabs.close()
}
