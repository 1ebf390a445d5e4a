import { useId, useState } from 'react'
import { SHARED } from '../base'
import { changeSets, useLabels, type Sae } from '../hooks/useLabels'
import { count, counted } from '../lib/format'
import { has, MOST_FEATURES, SET_NAME_LENGTH, setName, withMore } from '../lib/sets'
import { visible } from '../lib/text'

/** A button that keeps features under a name, alone or in a set that is there. */
export function SaveAsSet({ run, total, features }: {
  run: Sae
  /** How many features there are; at most `MOST_FEATURES` of them are saved. */
  total: number
  features: () => readonly number[] | Promise<readonly number[]>
}) {
  const { sets } = useLabels(run)
  const [open, setOpen] = useState(false)
  const [written, setWritten] = useState('')
  const [said, setSaid] = useState('')
  const [failed, setFailed] = useState('')
  const known = useId()
  if (SHARED !== undefined || total === 0) return null
  const name = setName(written)
  const save = async () => {
    setFailed('')
    setSaid('Saving…')
    try {
      const chosen = (await features()).slice(0, MOST_FEATURES)
      const kept = await changeSets(run, (now) => withMore(now, name, chosen))
      setSaid(`The set “${visible(name)}” now has ${counted(kept[name]?.features.length ?? 0, 'feature')}. It is listed under Annotations.`)
      setOpen(false)
      setWritten('')
    } catch (error) {
      setSaid('')
      setFailed(error instanceof Error ? error.message : 'The set was not saved.')
    }
  }
  const start = () => {
    setSaid('')
    setOpen(true)
  }
  return (
    <span className="inline-flex flex-wrap items-center gap-x-3 gap-y-1 text-xs">
      {open ? (
        <form
          aria-label="Save as a set"
          className="inline-flex flex-wrap items-center gap-x-3 gap-y-1"
          onSubmit={(event) => {
            event.preventDefault()
            void save()
          }}
        >
          <input
            aria-label="Name of the set"
            placeholder="Name of the set"
            list={known}
            value={written}
            maxLength={SET_NAME_LENGTH}
            autoComplete="off"
            autoFocus // the reader has just clicked “Save as a set”
            onChange={(event) => setWritten(event.target.value)}
            className="field !w-44 px-2.5"
          />
          <datalist id={known}>
            {Object.keys(sets).map((one) => (
              <option key={one} value={one} />
            ))}
          </datalist>
          <button type="submit" className="button !min-h-8">
            {has(sets, name) ? 'Add to this set' : 'Save'} {count(Math.min(total, MOST_FEATURES))}
          </button>
          <button type="button" className="quiet" onClick={() => setOpen(false)}>
            Cancel
          </button>
          {total > MOST_FEATURES && <span className="text-soft">The first {count(MOST_FEATURES)} of {count(total)} features are saved.</span>}
        </form>
      ) : (
        <button type="button" className="quiet" onClick={start}>
          Save as a set
        </button>
      )}
      <span role="status" className="text-soft empty:hidden">{said}</span>
      {failed && <span role="alert" className="text-wrong">{failed}</span>}
    </span>
  )
}
