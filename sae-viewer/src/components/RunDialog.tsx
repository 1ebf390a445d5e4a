import { useState, type ReactNode } from 'react'
import { go } from '../hooks/useAddress'
import { useRuns } from '../hooks/useApi'
import type { RunMetadata, RunSummary, SaeReport } from '../interpAPI'
import { FEATURES, HEADLINES, type Address } from '../lib/address'
import { count, number, percent, when } from '../lib/format'
import { Icon } from './Icon'
import { Modal } from './Modal'

/** Which run is shown and how good it is: the other runs, the classifier, the SAE, where all of it comes from. */
export function RunDialog({ run, address, onClose }: {
  run: RunMetadata | undefined
  address: Address
  onClose: () => void
}) {
  return (
    <Modal title={run ? `About ${run.run_id}` : 'Runs'} onClose={onClose} wide>
      {run && (
        <div className="grid grid-cols-1 gap-x-10 gap-y-7 md:grid-cols-2">
          <Classifier run={run} />
          <Sae run={run} />
          <Provenance run={run} />
          <Runs shown={run.run_id} address={address} onClose={onClose} />
        </div>
      )}
      {!run && <Runs shown={undefined} address={address} onClose={onClose} />}
    </Modal>
  )
}

function Section({ title, children, className = '' }: { title: string; children: ReactNode; className?: string }) {
  return (
    <section className={`min-w-0 ${className}`}>
      <h3 className="eyebrow mb-1 border-b border-line pb-1.5">{title}</h3>
      {children}
    </section>
  )
}

const HEAD = 'py-1 pl-3 text-right text-xs font-normal whitespace-nowrap text-soft'
const CELL = 'py-1 pl-3 text-right whitespace-nowrap tabular-nums'

function Classifier({ run }: { run: RunMetadata }) {
  const { report } = run.classifier
  return (
    <Section title="Classifier">
      <p className="py-1.5">
        Accuracy <Figure>{percent(report.accuracy)}</Figure>, macro-F1 <Figure>{number(report.macro_f1)}</Figure> on{' '}
        {count(report.n_headlines)} {report.split} headlines.
        <span className="block text-xs text-soft">
          Always the commonest class: {percent(report.majority_accuracy)} and {number(report.majority_macro_f1)}.
        </span>
      </p>
      <table className="w-full">
        <thead>
          <tr>
            <th scope="col" className={`${HEAD} pl-0! text-left!`}>class</th>
            <th scope="col" className={HEAD}>precision</th>
            <th scope="col" className={HEAD}>recall</th>
            <th scope="col" className={HEAD}>F1</th>
            <th scope="col" className={HEAD}>headlines</th>
          </tr>
        </thead>
        <tbody>
          {report.per_class.map((score) => (
            <tr key={score.label} className="border-t border-line">
              <th scope="row" className="py-1 text-left font-normal">{score.label}</th>
              <td className={CELL}>{percent(score.precision)}</td>
              <td className={CELL}>{percent(score.recall)}</td>
              <td className={CELL}>{percent(score.f1)}</td>
              <td className={CELL}>{count(score.support)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Section>
  )
}

function Sae({ run }: { run: RunMetadata }) {
  const family: [string, SaeReport][] = Object.entries(run.sae_family)
  const rows = family.length > 0 ? family : [[run.sae.size, run.sae.report] as [string, SaeReport]]
  return (
    <Section title="Sparse autoencoder">
      <p className="py-1.5">
        <Figure>{count(run.sae.d_sae)}</Figure> features on layer {run.hookpoint.layer}, {run.sae.kind}, recipe{' '}
        {run.sae.recipe}, L1 {run.sae.l1_coefficient}.
        <span className="block text-xs text-soft">
          Counted positions: {run.sae.positions}. {count(run.totals.n_live_features)} features fire in this run.
        </span>
      </p>
      <table className="w-full">
        <thead>
          <tr>
            <th scope="col" className={`${HEAD} pl-0! text-left!`}>size</th>
            <th scope="col" className={HEAD} title="active features per token, train / held out">L0</th>
            <th scope="col" className={HEAD} title="share of variance not explained, train / held out">FVU</th>
            <th scope="col" className={HEAD} title="features silent on all of train">dead</th>
            <th scope="col" className={HEAD} title="accuracy with the reconstruction in place of the activations">spliced</th>
          </tr>
        </thead>
        <tbody>
          {rows.map(([size, report]) => (
            <tr key={size} className={`border-t border-line ${size === run.sae.size ? 'font-semibold' : ''}`}>
              <th scope="row" className="py-1 text-left font-[inherit]">{size}</th>
              <td className={CELL}>
                {number(report.train.l0)} / {number(report.held_out.l0)}
              </td>
              <td className={CELL}>
                {number(report.train.fvu)} / {number(report.held_out.fvu)}
              </td>
              <td className={CELL}>{percent(report.dead_share)}</td>
              <td className={CELL}>{percent(report.spliced.accuracy_spliced)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <p className="mt-1.5 text-xs text-soft">
        Pairs are train / held out. Accuracy without splicing {percent(run.sae.report.spliced.accuracy_clean)};{' '}
        {percent(run.sae.report.spliced.unchanged)} of predictions stay the same.
      </p>
    </Section>
  )
}

function Provenance({ run }: { run: RunMetadata }) {
  const facts: [string, string][] = [
    ['made', when(run.created_at)],
    ['preset', run.preset],
    ['model', run.classifier.model],
    ['read at', `hidden_states[${run.hookpoint.layer}], ${run.hookpoint.module}`],
    ['headlines', `${count(run.totals.n_headlines)}, ${count(run.totals.n_counted_tokens)} counted tokens`],
    ['computed on', `${run.device}, ${run.dtype}, ${run.backend}`],
    ['hashes', `model ${run.classifier_hash}, SAE ${run.sae_hash}, data ${run.data_hash}`],
    ['versions', Object.entries(run.versions).map(([name, version]) => `${name} ${version}`).join(', ')],
  ]
  return (
    <Section title="Where it comes from">
      <dl className="grid grid-cols-[6.25rem_minmax(0,1fr)] gap-y-1 py-1.5">
        {facts.map(([name, value]) => (
          <div key={name} className="contents">
            <dt className="text-soft">{name}</dt>
            <dd className="wrap-anywhere">{value}</dd>
          </div>
        ))}
      </dl>
      <details className="mt-1">
        <summary className="text-soft hover:text-ink">All settings</summary>
        <pre tabIndex={0} aria-label="All settings" className="mt-2 max-h-64 overflow-auto rounded bg-sunk p-3 font-mono text-xs">
          {JSON.stringify(run.configs, null, 2)}
        </pre>
      </details>
    </Section>
  )
}

function Runs({ shown, address, onClose }: { shown: string | undefined; address: Address; onClose: () => void }) {
  const { data, error } = useRuns(true)
  const [wanted, setWanted] = useState('')
  const runs = (data?.runs ?? []).filter((run) => describe(run).toLowerCase().includes(wanted.toLowerCase()))
  function show(run: RunSummary) {
    const base = address.view === 'features' ? { ...FEATURES, metric: address.metric, feature: address.feature } : HEADLINES
    go({ ...base, run: run.is_default ? undefined : run.run_id })
    onClose()
  }
  return (
    <Section title="Runs" className="max-md:order-first">
      {(data?.runs.length ?? 0) > 6 && (
        <input
          type="search"
          aria-label="Search the runs"
          placeholder="Search the runs"
          value={wanted}
          onChange={(event) => setWanted(event.target.value)}
          className="field mt-2 px-2.5"
        />
      )}
      {error && !data && <p className="py-2 text-wrong">{error.message}</p>}
      {!data && !error && <span className="skeleton mt-3 block h-16" />}
      {data && runs.length === 0 && <p className="py-2 text-soft">No run matches.</p>}
      <ul className="max-h-80 overflow-y-auto">
        {runs.map((run) => (
          <li key={run.folder} className="border-b border-line">
            <button
              type="button"
              disabled={!run.readable}
              aria-current={run.run_id === shown ? 'true' : undefined}
              onClick={() => show(run)}
              className="grid w-full grid-cols-[1.25rem_minmax(0,1fr)] gap-x-1 rounded py-1.5 text-left enabled:hover:bg-sunk disabled:cursor-default"
            >
              <span className="pt-0.5">{run.run_id === shown && <Icon name="check" size={14} />}</span>
              <span>
                <span className={run.run_id === shown ? 'font-semibold' : ''}>{run.run_id}</span>
                {run.is_default && <span className="text-soft"> · served by default</span>}
                <span className="block text-xs text-soft">{run.readable ? describe(run) : (run.reason ?? 'cannot be read')}</span>
              </span>
            </button>
          </li>
        ))}
      </ul>
    </Section>
  )
}

function Figure({ children }: { children: ReactNode }) {
  return <strong className="font-semibold tabular-nums">{children}</strong>
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
