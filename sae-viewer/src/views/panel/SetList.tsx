import { useState } from 'react'
import { useLabels } from '../../hooks/useLabels'
import type { RunMetadata } from '../../interpAPI'
import type { Address } from '../../lib/address'
import { counted, when } from '../../lib/format'
import { visible } from '../../lib/text'
import { SetShown } from './SetShown'

/** The sets of features that people named. One of them is open. */
export function SetList({ run, address }: { run: RunMetadata; address: Address }) {
  const { sets } = useLabels(run)
  const [open, setOpen] = useState<string>()
  return (
    <ul aria-label="Sets of features" className="-mt-2">
      {Object.entries(sets).map(([name, { features, updated_at }]) => (
        <li key={name} className="border-b border-line">
          <button
            type="button"
            aria-expanded={open === name}
            onClick={() => setOpen(open === name ? undefined : name)}
            className="grid w-full grid-cols-[minmax(0,1fr)_auto] gap-x-4 py-2 text-left hover:bg-sunk sm:grid-cols-[minmax(0,1fr)_auto_10rem]"
          >
            <bdi className="truncate font-semibold">{visible(name)}</bdi>
            <span className="text-soft tabular-nums">{counted(features.length, 'feature')}</span>
            <span className="hidden text-right text-xs text-faint sm:block">{updated_at ? when(updated_at) : ''}</span>
          </button>
          {open === name && <SetShown name={name} run={run} address={address} onName={setOpen} />}
        </li>
      ))}
    </ul>
  )
}
