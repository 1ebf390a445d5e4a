import { useState } from 'react'
import { Icon } from '../../components/Icon'
import { LabelConflict } from '../../hooks/useLabels'
import type { RunMetadata } from '../../interpAPI'
import { NAME_LENGTH, NOTE_LENGTH } from '../../lib/labels'
import { visible } from '../../lib/text'
import { useLabelDraft, type SaveState } from './useLabelDraft'

/** The name, star and note that a person gives a feature, saved automatically. The feature must be its React key. */
export function LabelEditor({ feature, run }: { feature: number; run: RunMetadata }) {
  const { label, state, edit, save, settle } = useLabelDraft(run, feature)
  const [writing, setWriting] = useState(false)
  // During a conflict, leaving the field does not save: the buttons that settle it would vanish under the pointer.
  const leave = () => {
    if (!(state instanceof LabelConflict)) save()
  }
  const noted = writing || label.note !== ''
  return (
    <section aria-label="Your annotation" className="mt-2">
      <div className="flex items-center gap-2">
        <button
          type="button"
          aria-pressed={label.starred}
          aria-label={label.starred ? 'Remove the star' : 'Star this feature'}
          title={label.starred ? 'Remove the star' : 'Star this feature'}
          onClick={() => edit({ starred: !label.starred }, true)}
          className={`flex h-9 w-9 shrink-0 items-center justify-center rounded-md hover:bg-sunk ${label.starred ? 'text-plum' : 'text-faint'}`}
        >
          <Icon name="star" className={label.starred ? 'fill-current' : ''} />
        </button>
        <input
          aria-label="Name of this feature"
          placeholder="Name this feature"
          value={label.name}
          maxLength={NAME_LENGTH}
          autoComplete="off"
          onChange={(event) => edit({ name: event.target.value })}
          onBlur={leave}
          onKeyDown={(event) => {
            if (event.key === 'Enter') save()
          }}
          className="field max-w-96 min-w-0 px-2.5"
        />
        {!noted && (
          <button type="button" className="quiet shrink-0 text-xs" onClick={() => setWriting(true)}>
            Add a note
          </button>
        )}
        <Saved state={state} />
      </div>
      {noted && (
        <textarea
          aria-label="Note on this feature"
          placeholder="What it seems to mean, and what speaks against it"
          value={label.note}
          maxLength={NOTE_LENGTH}
          rows={Math.min(8, 2 + label.note.split('\n').length)}
          // The reader has just clicked “Add a note”.
          autoFocus={writing}
          onChange={(event) => edit({ note: event.target.value })}
          onBlur={leave}
          className="field mt-2 ml-11 block h-auto w-[calc(100%-2.75rem)] max-w-[38rem] px-2.5 py-1.5"
        />
      )}
      {state instanceof LabelConflict && (
        <p role="alert" className="mt-2 ml-11 max-w-[38rem] rounded-md bg-sunk px-3 py-2">
          This annotation was changed elsewhere in the meantime
          {state.fields.map((field) => (
            <span key={field}>
              , {field}: <bdi className="font-semibold">{String(state.theirs[field]) ? visible(String(state.theirs[field])) : 'removed'}</bdi>
            </span>
          ))}
          .{' '}
          <button type="button" className="quiet" onClick={() => settle('mine')}>
            Keep mine
          </button>{' '}
          <button type="button" className="quiet" onClick={() => settle('theirs')}>
            Take theirs
          </button>
        </p>
      )}
      {state instanceof Error && !(state instanceof LabelConflict) && (
        <p role="alert" className="mt-2 ml-11 text-wrong">
          Not saved yet: {state.message}{' '}
          <button type="button" className="quiet" onClick={save}>
            Save again
          </button>
        </p>
      )}
    </section>
  )
}

function Saved({ state }: { state: SaveState }) {
  return (
    <span role="status" className="min-w-14 text-xs text-faint">
      {state === 'saving' ? 'Saving…' : state === 'saved' ? 'Saved' : ''}
    </span>
  )
}
