import { useMemo } from 'react'
import { Link } from 'wouter'
import { FeatureCalled } from '../../components/FeatureName'
import { Icon } from '../../components/Icon'
import { OnBench } from '../../components/OnBench'
import { ClassMark } from '../../components/Outcome'
import { SaveAsSet } from '../../components/SaveAsSet'
import type { MapAnswer, RunMetadata } from '../../interpAPI'
import { FEATURES, writeAddress, type MapAddress } from '../../lib/address'
import { count, counted } from '../../lib/format'
import { sharedNames } from '../../lib/map'
import { visible } from '../../lib/text'

/** Features that are listed; the address of the list of features finds all. */
const LISTED = 200
const NAMES = 8

/** The chosen features: the names that they share, a link to the bench without them, and their list. */
export function Selection({ map, run, address, title, chosen, onClear }: {
  map: MapAnswer
  run: RunMetadata
  address: MapAddress
  title: string
  /** Indices of points, those that fire in the most headlines first. */
  chosen: readonly number[]
  onClear: (() => void) | undefined
}) {
  const features = chosen.map((index) => map.features[index] ?? 0)
  return (
    <section aria-label="Listed features">
      <div className="flex items-baseline justify-between gap-3 pb-1.5">
        <div role="status" className="min-w-0">
          <h2 className="text-sm font-semibold">
            {counted(chosen.length, 'feature')} <span className="font-normal text-soft">{title}</span>
          </h2>
        </div>
        {onClear && (
          <button type="button" className="quiet shrink-0 text-xs" onClick={onClear}>
            <Icon name="cross" size={12} /> Clear
          </button>
        )}
      </div>
      {chosen.length > 0 && onClear && (
        <p className="flex flex-wrap items-baseline gap-x-4 gap-y-1 pb-2 text-xs">
          <OnBench run={map.run_id} features={features} address={address} />
          <SaveAsSet key={`${address.lasso} ${address.region} ${address.q}`} run={run} total={features.length} features={() => features} />
        </p>
      )}
      {chosen.length > 0 && onClear && <NameTable map={map} chosen={chosen} />}
      <p aria-hidden="true" className="mt-3 grid grid-cols-[3.75rem_minmax(0,1fr)_auto] gap-x-2 pb-0.5 text-xs text-soft">
        <span className="text-right">feature</span>
        <span>name</span>
        <span>headlines</span>
      </p>
      <ol aria-label="Features" className="border-t border-line">
        {chosen.slice(0, LISTED).map((index) => {
          const feature = map.features[index] ?? 0
          const leaning = map.leaning[index] ?? -1
          return (
            <li key={feature} className="border-b border-line">
              <Link
                href={writeAddress({ ...FEATURES, run: address.run, feature })}
                className="grid grid-cols-[3.75rem_minmax(0,1fr)_3rem] items-center gap-x-2 py-1 text-sm hover:bg-sunk"
              >
                <span className="flex items-center justify-end gap-1.5 text-soft tabular-nums">
                  {leaning >= 0 && <ClassMark labels={map.labels} index={leaning} />}
                  {feature}
                </span>
                <span className="flex min-w-0 gap-1.5">
                  <FeatureCalled feature={feature} found={map.found_names[index]} word={map.words[index]} />
                </span>
                <span className="text-right text-xs text-soft tabular-nums" title="Headlines in which it fires">
                  {count(map.n_headlines[index] ?? 0)}
                </span>
              </Link>
            </li>
          )
        })}
      </ol>
      {chosen.length > LISTED && (
        <p className="pt-2 text-xs text-soft">
          The first {LISTED} are listed, those that fire in the most headlines. A smaller lasso or a region lists the others.
        </p>
      )}
    </section>
  )
}

/** What several of the chosen features are called. */
function NameTable({ map, chosen }: { map: MapAnswer; chosen: readonly number[] }) {
  const parts = useMemo(() => map.words.map((word, i) => map.found_names[i]?.text.split(', ') ?? (word ? [word] : [])), [map])
  const names = sharedNames(parts, chosen, NAMES)
  if (names.length === 0) return null
  return (
    <table className="w-full text-xs">
      <caption className="sr-only">Names and strongest words that listed features share</caption>
      <thead className="text-soft">
        <tr>
          <th scope="col" className="text-left font-normal">shared name or word</th>
          <th scope="col" className="text-right font-normal">features here</th>
          <th scope="col" className="text-right font-normal">on the map</th>
        </tr>
      </thead>
      <tbody>
        {names.map(({ name, n, total }) => (
          <tr key={name} className="border-t border-line">
            <td className="max-w-40 truncate" title={visible(name)}>
              <bdi>{visible(name)}</bdi>
            </td>
            <td className="text-right tabular-nums">{count(n)}</td>
            <td className="text-right tabular-nums">{count(total)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  )
}
