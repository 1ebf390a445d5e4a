import { useState } from 'react'
import { importLabels } from '../../hooks/useLabels'
import type { RunMetadata } from '../../interpAPI'
import { counted } from '../../lib/format'
import { MAX_FILE, readLabels, type LabelFile } from '../../lib/labelFile'

/** Reads annotations from a file, says what it holds, and adds them when the reader agrees. */
export function LabelImport({ run }: { run: RunMetadata }) {
  const [read, setRead] = useState<LabelFile>()
  const [said, setSaid] = useState('')
  const [failed, setFailed] = useState('')
  const say = (error: unknown) => setFailed(error instanceof Error ? error.message : 'The file cannot be read.')
  const choose = async (file: File | undefined) => {
    setRead(undefined)
    setSaid('')
    setFailed('')
    if (!file) return
    try {
      if (file.size > MAX_FILE) throw new Error(`The file is larger than ${MAX_FILE >> 20} MiB.`)
      setRead(readLabels(await utf8(file), run.sae.d_sae))
    } catch (error) {
      say(error)
    }
  }
  const add = async (file: LabelFile) => {
    try {
      const { added, kept, sets } = await importLabels(run, file)
      setSaid(`${counted(added, 'annotation')} added.${sets > 0 ? ` ${counted(sets, 'set')} added.` : ''}${kept > 0 ? ` ${counted(kept, 'feature')} had another name already, which stays.` : ''}`)
      setRead(undefined)
    } catch (error) {
      say(error)
    }
  }
  return (
    <div className="text-xs text-soft">
      <label className="flex flex-wrap items-center gap-x-3 gap-y-1">
        Add annotations from a file (CSV or JSON, as saved here)
        <input type="file" accept=".csv,.json,text/csv,application/json" onChange={(event) => void choose(event.target.files?.[0])} className="max-w-full file:mr-3 file:rounded-md file:border file:border-edge file:px-3 file:py-1.5 file:text-ink" />
      </label>
      {read && (
        <p className="mt-1.5 flex flex-wrap items-center gap-x-3 gap-y-1">
          <span>{contents(read, run.sae.d_sae)}</span>
          {read.labels.size + nSets(read) > 0 && (
            <button type="button" className="button !min-h-8" onClick={() => void add(read)}>
              Add {counted(read.labels.size, 'annotation')}{nSets(read) > 0 && ` and ${counted(nSets(read), 'set')}`}
            </button>
          )}
        </p>
      )}
      <p role="status" className="mt-1.5 empty:hidden">{said}</p>
      {failed && (
        <p role="alert" className="mt-1.5 text-wrong">{failed}</p>
      )}
    </div>
  )
}

async function utf8(file: File): Promise<string> {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(await file.arrayBuffer())
  } catch (error) {
    throw error instanceof TypeError ? new Error('The file is not UTF-8; save it as UTF-8.') : error
  }
}

const nSets = ({ sets }: LabelFile) => Object.keys(sets).length

function contents(file: LabelFile, nFeatures: number): string {
  const { labels, unknown, unreadable } = file
  const parts = [`The file has ${counted(labels.size, 'annotation')} of this SAE’s features.`]
  if (nSets(file) > 0) parts.push(`It has ${counted(nSets(file), 'set')} of features; a set whose name is there already is left out.`)
  if (unknown.length > 0) parts.push(`${counted(unknown.length, 'row')} with a feature number above ${nFeatures - 1} will be left out: this SAE has no such feature.`)
  if (unreadable > 0) parts.push(`${counted(unreadable, nSets(file) > 0 ? 'item' : 'row')} could not be read.`)
  return parts.join(' ')
}
