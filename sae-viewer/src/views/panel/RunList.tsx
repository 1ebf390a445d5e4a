import { useState } from 'react'
import { Icon } from '../../components/Icon'
import { go } from '../../hooks/useAddress'
import type { RunSummary } from '../../interpAPI'
import { FEATURES, HEADLINES, type Address } from '../../lib/address'
import { count, number, percent, when } from '../../lib/format'
import { useRuns } from './useRuns'

/** All runs, newest first, to search, to show, or to compare with the shown one. */
export function RunList({ shown, address }: { shown: string | undefined; address: Address }) {
  const { data, error } = useRuns()
  const [wanted, setWanted] = useState('')
  const words = wanted.toLowerCase().split(/\s+/).filter(Boolean)
  const runs = (data?.runs ?? []).filter((run) => {
    const text = `${run.run_id} ${run.folder} ${describe(run)}`.toLowerCase()
    return words.every((word) => text.includes(word))
  })
  function show(run: RunSummary) {
    const base = address.view === 'features' ? { ...FEATURES, metric: address.metric, feature: address.feature } : HEADLINES
    go({ ...base, run: run.is_default ? undefined : run.run_id })
  }
  return (
    <>
      <input
        type="search"
        aria-label="Search the runs"
        placeholder="Number, model, size, layer or date"
        value={wanted}
        onChange={(event) => setWanted(event.target.value)}
        className="field mb-3 px-2.5"
      />
      {error && !data && <p className="py-2 text-wrong">{error.message}</p>}
      {!data && !error && Array.from({ length: 4 }, (_, i) => <span key={i} className="skeleton mb-2 block h-12" />)}
      {data?.runs.length === 0 && <p className="py-2 text-soft">There are no runs yet; <code className="font-mono">python -m sae_pipeline analyze</code> writes one.</p>}
      {data && data.runs.length > 0 && runs.length === 0 && <p className="py-2 text-soft">No run matches “{wanted}”.</p>}
      <ul>
        {runs.map((run) => (
          <li key={run.folder} className="flex items-center gap-3 border-b border-line">
            <button
              type="button"
              disabled={!run.readable}
              aria-current={run.run_id === shown ? 'true' : undefined}
              onClick={() => show(run)}
              className="grid min-w-0 grow grid-cols-[1.25rem_minmax(0,1fr)_auto] gap-x-2 rounded py-2 text-left enabled:hover:bg-sunk disabled:cursor-default"
            >
              <span className="pt-0.5">
                {!run.readable && <Icon name="alert" size={14} className="text-wrong" />}
                {run.run_id === shown && <Icon name="check" size={14} />}
              </span>
              <span>
                <span className={run.run_id === shown ? 'font-semibold' : ''}>{run.run_id}</span>
                {run.is_default && <span className="text-soft"> · served by default</span>}
                <span className="block text-xs text-soft">{run.readable ? describe(run) : (run.reason ?? 'This run cannot be read.')}</span>
              </span>
              {run.readable && <Figures run={run} />}
            </button>
            <span className="w-14 shrink-0 text-right">
              {run.readable && run.run_id !== shown && shown !== undefined && address.view !== 'unknown' && (
                <button
                  type="button"
                  className="quiet text-xs"
                  aria-label={`Compare with ${run.run_id}`}
                  onClick={() => go({ ...address, panel: 'compare', compare: run.run_id })}
                >
                  Compare
                </button>
              )}
            </span>
          </li>
        ))}
      </ul>
    </>
  )
}

function Figures({ run: { l0, fvu, unchanged } }: { run: RunSummary }) {
  const figures: [string, string | null, string][] = [
    ['L0', l0 === null ? null : number(l0), 'Active features per held-out token, or per headline if the SAE reads one vector per headline'],
    ['FVU', fvu === null ? null : number(fvu), 'Fraction of held-out variance unexplained'],
    ['unchanged', unchanged === null ? null : percent(unchanged), 'Share of predictions that stay the same when the reconstruction replaces the activations'],
  ]
  return (
    <span className="hidden gap-x-5 text-right text-xs sm:flex">
      {figures.map(([name, value, title]) => (
        <span key={name} title={title} className="w-16">
          <span className="block text-sm tabular-nums">{value ?? '–'}</span>
          <span className="text-soft">{name}</span>
        </span>
      ))}
    </span>
  )
}

function describe(run: RunSummary): string {
  const parts = [
    run.model,
    run.sae_size,
    run.layer === null ? null : `layer ${run.layer}`,
    run.n_headlines === null ? null : `${count(run.n_headlines)} headlines`,
    run.created_at === null ? null : when(run.created_at),
  ]
  return parts.filter(Boolean).join(' · ')
}
