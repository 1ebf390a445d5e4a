import { useEffect, useRef, useState } from 'react'
import { LabelConflict, saveLabel, useLabel } from '../../hooks/useLabels'
import { ApiError, type RunMetadata } from '../../interpAPI'
import { isSame, mergeLabel, said, UNSAID, type Said } from '../../lib/labels'

const SAVE_AFTER_MS = 700

interface Draft {
  /** The label as it was when this edit of it began. */
  base: Said
  mine: Said
}

export type SaveState = 'saved' | 'saving' | 'idle' | LabelConflict | ApiError

/**
 * The label of a feature being edited: saved a moment after the last key and on leaving. What is not saved yet
 * outlives a reload of the page.
 */
export function useLabelDraft(run: RunMetadata, feature: number) {
  const place = `label ${run.sae_hash} ${feature}`
  const there = said(useLabel(feature) ?? UNSAID)
  const [draft, setDraft] = useState<Draft | undefined>(() => recall(place))
  const [state, setState] = useState<SaveState>('idle')
  const current = useRef(draft)
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined)

  function hold(next: Draft | undefined) {
    current.current = next
    setDraft(next)
    remember(place, next)
  }

  function save() {
    clearTimeout(timer.current)
    const sent = current.current
    if (!sent) return
    if (isSame(sent.base, sent.mine)) return hold(undefined)
    setState('saving')
    saveLabel(run, feature, sent.base, sent.mine).then(
      (saved) => {
        const now = current.current
        hold(now === sent || now === undefined ? undefined : { base: saved, mine: now.mine })
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
    saveNow.current() // what a reload interrupted
    return () => saveNow.current()
  }, [])

  function edit(change: Partial<Said>, atOnce = false) {
    hold({ base: current.current?.base ?? there, mine: { ...(current.current?.mine ?? there), ...change } })
    setState('idle')
    clearTimeout(timer.current)
    if (atOnce) save()
    else timer.current = setTimeout(() => saveNow.current(), SAVE_AFTER_MS)
  }

  return {
    label: draft?.mine ?? there,
    state,
    edit,
    save,
    /** After a conflict: mine over theirs, or theirs. */
    settle: (whose: 'mine' | 'theirs') => {
      if (!(state instanceof LabelConflict) || !current.current) return
      const { base, mine } = current.current
      setState('idle')
      // What only they changed stays theirs.
      hold(whose === 'theirs' ? undefined : { base: state.theirs, mine: mergeLabel(base, mine, state.theirs).label })
      save()
    },
  }
}

function recall(place: string): Draft | undefined {
  try {
    const text = sessionStorage.getItem(place)
    return text === null ? undefined : (JSON.parse(text) as Draft)
  } catch {
    return undefined
  }
}

function remember(place: string, draft: Draft | undefined): void {
  try {
    if (draft) sessionStorage.setItem(place, JSON.stringify(draft))
    else sessionStorage.removeItem(place)
  } catch {
    // Storage is forbidden: the draft lasts as long as the page.
  }
}
