/** People's annotations of features (labels, in the API): read once for all chips, and saved so that no change by somebody else is lost. */

import { useQuery } from '@tanstack/react-query'
import { createContext, use, useEffect } from 'react'
import { ApiError, get, putLabels, type FeatureLabel, type LabelsAnswer, type RunMetadata } from '../interpAPI'
import { withImported, type LabelFile } from '../lib/labelFile'
import { labelText, mergeLabel, NO_LABEL, type Labels, type LabelText, type Merged } from '../lib/labels'
import { queryClient } from './queryClient'

const REFRESH_MS = 30_000
const ATTEMPTS = 5

type Sae = Pick<RunMetadata, 'run_id' | 'sae_hash'>
const key = ({ sae_hash }: Sae) => ['labels', sae_hash]

const NONE: Labels = {}
/** The labels of the shown run, which `App` provides. */
export const LabelsContext = createContext<Labels>(NONE)

/** The label of a feature of the shown run. */
export function useLabel(feature: number): FeatureLabel | undefined {
  return use(LabelsContext)[feature]
}

/** All labels of the run's SAE, read again when another tab saves and every 30 seconds. */
export function useLabels(run: Sae | undefined): { labels: Labels; error: ApiError | null } {
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
    tabs.onmessage = () => void queryClient.invalidateQueries({ queryKey: ['labels'] })
    return () => tabs.close()
  }, [])
  return { labels: data?.labels ?? NONE, error }
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
  let current = queryClient.getQueryData<LabelsAnswer>(key(run))
  for (let attempt = 1; ; attempt++) {
    current ??= await get('/api/labels', { run: run.run_id })
    const theirs = labelText(current.labels[feature] ?? NO_LABEL)
    const { label, conflicts } = mergeLabel(base, mine, theirs)
    if (conflicts.length > 0) {
      queryClient.setQueryData(key(run), current)
      throw new LabelConflict(theirs, conflicts)
    }
    try {
      const answer = await putLabels(run.run_id, { ...current.labels, [feature]: { ...label, updated_at: null } }, current.etag)
      publish(run, answer)
      return labelText(answer.labels[feature] ?? NO_LABEL)
    } catch (error) {
      const changed = error instanceof ApiError && error.status === 412
      if (!changed || attempt === ATTEMPTS) throw error
      current = undefined
    }
  }
}

/** Adds the labels of a file to those that the server has now. Throws `ApiError`. */
export async function importLabels(run: Sae, file: LabelFile): Promise<{ added: number; kept: number }> {
  for (let attempt = 1; ; attempt++) {
    const current = await get('/api/labels', { run: run.run_id })
    const { labels, added, kept } = withImported(current.labels, file)
    try {
      publish(run, await putLabels(run.run_id, labels, current.etag))
      return { added, kept }
    } catch (error) {
      if (!(error instanceof ApiError && error.status === 412) || attempt === ATTEMPTS) throw error
    }
  }
}

/** Shows the saved labels in this tab and tells the other tabs. */
function publish(run: Sae, answer: LabelsAnswer): void {
  queryClient.setQueryData(key(run), answer)
  void queryClient.invalidateQueries({ queryKey: ['features'] }) // they are searched by label
  const tabs = new BroadcastChannel('labels')
  tabs.postMessage(run.sae_hash)
  tabs.close()
}
