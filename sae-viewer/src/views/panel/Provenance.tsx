import { SaveButtons } from '../../components/SaveButtons'
import { unitOf } from '../../hooks/useUnit'
import type { RunMetadata } from '../../interpAPI'
import { saveFile } from '../../lib/download'
import { count, when } from '../../lib/format'
import { visible } from '../../lib/text'
import { Section } from './Section'

/** The origin of a run: model, data, settings, versions and time. */
export function Provenance({ run }: { run: RunMetadata }) {
  const { report } = run.sae
  const facts: [string, string][] = [
    ['created', when(run.created_at)],
    ['preset', run.preset],
    ['model', run.classifier.model],
    ['activations', `hidden_states[${run.hookpoint.layer}], ${run.hookpoint.module}`],
    ['headlines', `${count(run.totals.n_headlines)}, ${unitOf(run) === 'headline' ? 'one vector each' : `${count(run.totals.n_counted_tokens)} counted tokens`}${run.totals.n_cut > 0 ? `, ${count(run.totals.n_cut)} cut to ${count(run.classifier.max_length)} tokens` : ''}`],
    ['classifier', `${run.classifier.is_finetuned ? 'fine-tuned' : 'taken as it is'}${run.classifier.revision ? `, revision ${run.classifier.revision}` : ''}`],
    ['other columns', run.columns.map(visible).join(', ') || 'none'],
    ['SAE training', `${report.seconds.toFixed(1)} s, ${count(Math.round(report.tokens_per_second))} tokens/s`],
    ['computed on', `${run.device}, ${run.dtype}, ${run.backend}`],
    ['hashes', `model ${run.classifier_hash}, SAE ${run.sae_hash}, data ${run.data_hash}`],
    ['versions', Object.entries(run.versions).map(([name, version]) => `${name} ${version}`).join(', ')],
  ]
  return (
    <Section
      title="Provenance"
      className="md:col-span-2"
      aside={
        <SaveButtons
          what="everything about this run"
          ways={{ JSON: () => saveFile(`${run.run_id}-metadata.json`, JSON.stringify(run, null, 2), 'application/json') }}
        />
      }
    >
      <dl className="grid grid-cols-[6.5rem_minmax(0,1fr)] gap-y-1">
        {facts.map(([name, value]) => (
          <div key={name} className="contents">
            <dt className="text-soft">{name}</dt>
            <dd className="wrap-anywhere">{value}</dd>
          </div>
        ))}
      </dl>
      <details className="mt-2">
        <summary className="text-soft hover:text-ink">All settings</summary>
        <pre tabIndex={0} aria-label="All settings" className="mt-2 max-h-64 overflow-auto rounded bg-sunk p-3 font-mono text-xs">
          {JSON.stringify(run.configs, null, 2)}
        </pre>
      </details>
    </Section>
  )
}
