import { useEffect, useRef, useState } from 'react'
import { LabelConflict, saveLabel, useLabel } from '../../hooks/useLabels'
import { ApiError, type RunMetadata } from '../../interpAPI'
import { isSame, labelText, mergeLabel, NO_LABEL, type LabelText } from '../../lib/labels'

const SAVE_AFTER_MS = 700

interface Draft {
  /** The label as it was when this edit of it began. */
  base: LabelText
  mine: LabelText
}

export type SaveState = 'saved' | 'saving' | 'idle' | LabelConflict | ApiError

/**
 * A feature's label while it is edited. It is saved a moment after the last key and on leaving; a draft that is not
 * saved yet survives a reload of the page.
 */
export function useLabelDraft(run: RunMetadata, feature: number) {
  const storageKey = `label ${run.sae_hash} ${feature}`
  const saved = labelText(useLabel(feature) ?? NO_LABEL)
  const [draft, setDraft] = useState<Draft | undefined>(() => recall(storageKey))
  const [state, setState] = useState<SaveState>('idle')
  const current = useRef(draft)
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined)

  function hold(next: Draft | undefined) {
    current.current = next
    setDraft(next)
    remember(storageKey, next)
  }

  function save() {
    clearTimeout(timer.current)
    const sent = current.current
    if (!sent) return
    if (isSame(sent.base, sent.mine)) return hold(undefined)
    setState('saving')
    saveLabel(run, feature, sent.base, sent.mine).then(
      (answer) => {
        const now = current.current
        hold(now === sent || now === undefined ? undefined : { base: answer, mine: now.mine })
        setState('saved')
      },
      (error: unknown) => setState(error instanceof LabelConflict || error instanceof ApiError ? error : 'idle'),
    )
  }

  const saveNow = useRef(save)
  useEffect(() => {
    saveNow.current = save
  })
  useEffect(() => {
    saveNow.current() // a draft that a reload interrupted
    return () => saveNow.current()
  }, [])

  function edit(change: Partial<LabelText>, atOnce = false) {
    hold({ base: current.current?.base ?? saved, mine: { ...(current.current?.mine ?? saved), ...change } })
    setState('idle')
    clearTimeout(timer.current)
    if (atOnce) save()
    else timer.current = setTimeout(() => saveNow.current(), SAVE_AFTER_MS)
  }

  return {
    label: draft?.mine ?? saved,
    state,
    edit,
    save,
    /** Settles a conflict by saving mine over theirs, or by taking theirs. */
    settle: (whose: 'mine' | 'theirs') => {
      if (!(state instanceof LabelConflict) || !current.current) return
      const { base, mine } = current.current
      setState('idle')
      // A field that only they changed keeps their value.
      hold(whose === 'theirs' ? undefined : { base: state.theirs, mine: mergeLabel(base, mine, state.theirs).label })
      save()
    },
  }
}

function recall(key: string): Draft | undefined {
  try {
    const text = sessionStorage.getItem(key)
    return text === null ? undefined : (JSON.parse(text) as Draft)
  } catch {
    return undefined
  }
}

function remember(key: string, draft: Draft | undefined): void {
  try {
    if (draft) sessionStorage.setItem(key, JSON.stringify(draft))
    else sessionStorage.removeItem(key)
  } catch {
    // Where the browser forbids storage, the draft lasts as long as the page.
  }
}
