import { useState } from 'react'
import { Link } from 'wouter'
import { SHARED } from '../../base'
import { LabelMark } from '../../components/FeatureName'
import { WithCommands } from '../../components/Notices'
import { SaveButtons } from '../../components/SaveButtons'
import { useLabels } from '../../hooks/useLabels'
import type { RunMetadata } from '../../interpAPI'
import { FEATURES, writeAddress, type Address } from '../../lib/address'
import { csv, saveFile } from '../../lib/download'
import { counted, when } from '../../lib/format'
import { visible } from '../../lib/text'
import { LabelImport } from './LabelImport'
import { Section } from './Section'
import { SetList } from './SetList'

/** The sets of features that people named, and all annotations: the names, stars and notes that they gave to features of this SAE. */
export default function LabelList({ run, address }: { run: RunMetadata; address: Address }) {
  const { labels, sets, error } = useLabels(run)
  const [wanted, setWanted] = useState('')
  const [starred, setStarred] = useState(false)
  const all = Object.entries(labels).map(([feature, label]) => ({ feature: Number(feature), ...label }))
  const needle = wanted.trim().toLowerCase()
  const found = all.filter(
    (label) =>
      (label.starred || !starred) && `${label.feature} ${label.name} ${label.note}`.toLowerCase().includes(needle),
  )
  const name = `labels-${run.sae_hash}`
  const rows = found.map(({ feature, name: called, starred: star, note, updated_at }) => ({ feature, name: called, starred: star, note, updated_at }))
  const named = Object.keys(sets).length > 0
  if (error && all.length === 0 && !named) {
    return (
      <p className="text-wrong">
        <WithCommands>{error.message}</WithCommands>
      </p>
    )
  }
  const save = (
    <SaveButtons
      what={named ? 'these annotations, in JSON with the sets' : 'these annotations'}
      ways={{
        ...(all.length > 0 ? { CSV: () => saveFile(`${name}.csv`, csv(rows), 'text/csv') } : {}),
        JSON: () => saveFile(`${name}.json`, JSON.stringify({ sae_hash: run.sae_hash, labels: rows, sets }, null, 2), 'application/json'),
      }}
    />
  )
  return (
    <>
      {named && (
        <Section title="Sets of features" className="mb-8" aside={all.length === 0 && save}>
          <SetList run={run} address={address} />
        </Section>
      )}
      {all.length === 0 ? (
        <p className="mb-3 text-soft">
          {SHARED === undefined
            ? 'No feature of this SAE has an annotation yet: a name, a star or a note. Open a feature and type a name under its title. The name is then shown wherever the feature appears, in every run of this SAE.'
            : 'No feature of this SAE had an annotation when the run was exported.'}
          {SHARED === undefined && !named && ' To keep several features under one name, press “Save as a set” on the map, above the list of features or on the bench.'}
        </p>
      ) : (
        <div className="mb-3 flex flex-wrap items-center gap-x-4 gap-y-2">
          <input
            type="search"
            aria-label="Search the annotations"
            placeholder="Search names and notes"
            value={wanted}
            onChange={(event) => setWanted(event.target.value)}
            className="field max-w-80 px-2.5"
          />
          <label className="flex items-center gap-1.5 text-sm">
            <input type="checkbox" checked={starred} onChange={(event) => setStarred(event.target.checked)} />
            Starred only
          </label>
          <span role="status" className="text-soft">{counted(found.length, 'annotation')}</span>
          <span className="ml-auto">{save}</span>
        </div>
      )}
      {SHARED === undefined && <LabelImport run={run} />}
      {all.length > 0 && (
        <ul className="mt-3 border-t border-line">
          {found.map(({ feature, updated_at, ...label }) => (
            <li key={feature} className="border-b border-line">
              <Link
                href={writeAddress({ ...FEATURES, run: address.run, feature })}
                className="grid grid-cols-[4rem_minmax(0,1fr)] gap-x-4 gap-y-0.5 py-2 hover:bg-sunk sm:grid-cols-[4rem_minmax(0,1fr)_10rem]"
              >
                <span className="text-right tabular-nums">{feature}</span>
                <span className="flex min-w-0 items-baseline gap-2">
                  <LabelMark label={{ ...label, updated_at }} />
                </span>
                <span className="hidden text-right text-xs text-faint sm:block">{updated_at ? when(updated_at) : ''}</span>
                {label.note && <bdi className="col-start-2 line-clamp-3 text-xs whitespace-pre-line text-soft wrap-anywhere">{visible(label.note)}</bdi>}
              </Link>
            </li>
          ))}
        </ul>
      )}
    </>
  )
}
