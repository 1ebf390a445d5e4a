/** People's annotations of features (labels, in the API) and sets of features: read once for all chips, and saved so that no change by somebody else is lost. */

import { useQuery } from '@tanstack/react-query'
import { createContext, use, useEffect } from 'react'
import { ApiError, get, putLabels, type FeatureLabel, type LabelsAnswer, type LabelsChange, type RunMetadata } from '../interpAPI'
import { withImported, type Added, type LabelFile } from '../lib/labelFile'
import { labelText, mergeLabel, NO_LABEL, type Labels, type LabelText, type Merged } from '../lib/labels'
import type { Sets } from '../lib/sets'
import { queryClient } from './queryClient'

const REFRESH_MS = 30_000
const ATTEMPTS = 5

export type Sae = Pick<RunMetadata, 'run_id' | 'sae_hash'>
const key = ({ sae_hash }: Sae) => ['labels', sae_hash]

const NONE: Labels = {}
const NO_SETS: Sets = {}
/** The labels of the shown run, which `App` provides. */
export const LabelsContext = createContext<Labels>(NONE)

/** The label of a feature of the shown run. */
export function useLabel(feature: number): FeatureLabel | undefined {
  return use(LabelsContext)[feature]
}

/** All labels and sets of the run's SAE, read again when another tab saves and every 30 seconds. */
export function useLabels(run: Sae | undefined): { labels: Labels; sets: Sets; error: ApiError | null } {
  const { data, error } = useQuery({
    queryKey: key(run ?? { run_id: '', sae_hash: '' }),
    queryFn: ({ signal }) => get('/api/labels', { run: run?.run_id }, signal),
    enabled: run !== undefined,
    staleTime: REFRESH_MS,
    refetchOnWindowFocus: true,
    refetchInterval: REFRESH_MS,
  })
  useEffect(() => {
    const tabs = new BroadcastChannel('labels')
    tabs.onmessage = () => void Promise.all(['labels', 'sets'].map((first) => queryClient.invalidateQueries({ queryKey: [first] })))
    return () => tabs.close()
  }, [])
  return { labels: data?.labels ?? NONE, sets: data?.sets ?? NO_SETS, error }
}

/** The same fields of the same feature were changed elsewhere, so nothing was saved. */
export class LabelConflict extends Error {
  constructor(
    readonly theirs: LabelText,
    readonly fields: Merged['conflicts'],
  ) {
    super('This annotation was changed elsewhere in the meantime.')
  }
}

let saving: Promise<unknown> = Promise.resolve()

/**
 * Saves `mine`, which was edited from `base`, over the label that the server has now. Throws `LabelConflict` where
 * both changed the same field, `ApiError` where the API refuses. This tab's saves run one after the other.
 */
export function saveLabel(run: Sae, feature: number, base: LabelText, mine: LabelText): Promise<LabelText> {
  const mySave = saving.then(() => save(run, feature, base, mine))
  saving = mySave.catch(() => undefined)
  return mySave
}

async function save(run: Sae, feature: number, base: LabelText, mine: LabelText): Promise<LabelText> {
  const change = (now: LabelsAnswer): LabelsChange => {
    const theirs = labelText(now.labels[feature] ?? NO_LABEL)
    const { label, conflicts } = mergeLabel(base, mine, theirs)
    if (conflicts.length > 0) {
      queryClient.setQueryData(key(run), now)
      throw new LabelConflict(theirs, conflicts)
    }
    return { labels: { ...now.labels, [feature]: { ...label, updated_at: null } }, sets: null }
  }
  const { labels } = await replace(run, change, queryClient.getQueryData<LabelsAnswer>(key(run)))
  return labelText(labels[feature] ?? NO_LABEL)
}

/** Adds the labels and sets of a file to those that the server has now. Throws `ApiError`. */
export async function importLabels(run: Sae, file: LabelFile): Promise<Added> {
  let done: Added | undefined
  await replace(run, (now) => {
    const { change, ...added } = withImported(now, file)
    done = added
    return change
  })
  return done ?? { added: 0, kept: 0, sets: 0 }
}

/** Saves what `change` makes of the sets that the server has now. Returns all of them. Throws `ApiError`, and what `change` throws. */
export async function changeSets(run: Sae, change: (now: Sets) => Sets): Promise<Sets> {
  return (await replace(run, ({ labels, sets }) => ({ labels, sets: change(sets) }))).sets
}

/** Saves a change of the labels that the server has now, of which `known` may be a copy; again where others were faster. */
async function replace(run: Sae, change: (now: LabelsAnswer) => LabelsChange, known?: LabelsAnswer): Promise<LabelsAnswer> {
  for (let now = known, attempt = 1; ; now = undefined, attempt++) {
    now ??= await get('/api/labels', { run: run.run_id })
    try {
      const answer = await putLabels(run.run_id, change(now), now.etag)
      publish(run, answer)
      return answer
    } catch (error) {
      if (!(error instanceof ApiError && error.status === 412) || attempt === ATTEMPTS) throw error
    }
  }
}

/** Shows the saved labels in this tab and tells the other tabs. */
function publish(run: Sae, answer: LabelsAnswer): void {
  queryClient.setQueryData(key(run), answer)
  void queryClient.invalidateQueries({ queryKey: ['features'] }) // they are searched by label, and filtered by set
  void queryClient.invalidateQueries({ queryKey: ['sets'] })
  const tabs = new BroadcastChannel('labels')
  tabs.postMessage(run.sae_hash)
  tabs.close()
}
