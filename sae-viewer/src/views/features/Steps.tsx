import { useState } from 'react'
import { Icon, type IconName } from '../../components/Icon'
import { go } from '../../hooks/useAddress'
import { useKeys } from '../../hooks/useKeys'
import type { RunMetadata } from '../../interpAPI'
import type { FeaturesAddress } from '../../lib/address'
import { featuresQuery, randomFeature, useAround } from './useFeatures'

/** Buttons to the previous, a random and the next feature of the list; by number where the list does not hold this one. */
export function Steps({ feature, address, run }: { feature: number; address: FeaturesAddress; run: RunMetadata }) {
  const query = featuresQuery(address, run.run_id)
  const { rank, previous, next } = useAround(query, feature)
  const last = run.totals.n_features - 1
  const before = rank === null && feature > 0 ? Math.min(feature - 1, last) : previous
  const after = rank === null && feature < last ? feature + 1 : next
  const show = (id: number | undefined) => id !== undefined && go({ ...address, feature: id })
  const [busy, setBusy] = useState(false)
  const random = () => {
    if (busy) return
    setBusy(true)
    randomFeature(address, run.run_id)
      .then(show, () => undefined)
      .finally(() => setBusy(false))
  }
  useKeys({ '[': () => show(before), ']': () => show(after), r: random })
  const within = rank === null ? 'by number' : 'in the list'
  return (
    <div className="flex gap-2">
      <Step name="[" label={`Previous feature ${within}`} icon="left" to={before} show={show} />
      <button type="button" className="button px-2.5" aria-label="Random feature of the list" title="Random feature of the list (r)" aria-keyshortcuts="r" onClick={random}>
        <Icon name="dice" />
      </button>
      <Step name="]" label={`Next feature ${within}`} icon="right" to={after} show={show} />
    </div>
  )
}

function Step({ name, label, icon, to, show }: {
  name: string
  label: string
  icon: IconName
  to: number | undefined
  show: (id: number | undefined) => void
}) {
  return (
    <button
      type="button"
      className="button"
      aria-disabled={to === undefined}
      aria-label={to === undefined ? label : `${label}: ${to}`}
      title={`${label} (${name})`}
      aria-keyshortcuts={name}
      onClick={() => show(to)}
    >
      {icon === 'left' && <Icon name="left" size={14} />}
      <span className="min-w-9 tabular-nums">{to ?? '–'}</span>
      {icon === 'right' && <Icon name="right" size={14} />}
    </button>
  )
}
