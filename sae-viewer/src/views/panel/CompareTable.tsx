import { SaveButtons } from '../../components/SaveButtons'
import type { RunMetadata } from '../../interpAPI'
import { csv, saveFile, type Row } from '../../lib/download'
import { count, number, percent } from '../../lib/format'
import { CELL, HEAD, Section } from './Section'

type Line = [name: string, title: string, value: (run: RunMetadata) => string]

const LINES: Line[] = [
  ['model', 'The classifier', ({ classifier }) => classifier.model],
  ['layer', 'The layer that is read: hidden_states[layer]', ({ hookpoint }) => String(hookpoint.layer)],
  ['features', 'The size of the SAE, d_sae', ({ sae }) => count(sae.d_sae)],
  ['kind, recipe', 'How the SAE was trained', ({ sae }) => `${sae.kind}, ${sae.recipe}`],
  ['L0', 'Active features per token, or per headline if the SAE reads one vector per headline; train / held out', ({ sae: { report } }) => `${number(report.train.l0)} / ${number(report.held_out.l0)}`],
  ['FVU', 'Fraction of variance unexplained, train / held out', ({ sae: { report } }) => `${number(report.train.fvu)} / ${number(report.held_out.fvu)}`],
  ['dead', 'Share of features that never fire on train', ({ sae }) => percent(sae.report.dead_share)],
  ['live', 'Features that fire in the run', ({ totals }) => count(totals.n_live_features)],
  ['accuracy', 'Accuracy of the classifier', ({ sae }) => percent(sae.report.spliced.accuracy_clean)],
  ['spliced', 'Accuracy when the reconstruction replaces the activations', ({ sae }) => percent(sae.report.spliced.accuracy_spliced)],
  ['unchanged', 'Share of predictions that stay the same when spliced', ({ sae }) => percent(sae.report.spliced.unchanged)],
  ['headlines', 'Headlines in the run', ({ totals }) => count(totals.n_headlines)],
]

/** The figures of several runs, one column each. */
export function CompareTable({ runs }: { runs: RunMetadata[] }) {
  const rows = (): Row[] => LINES.map(([figure, , value]) => ({ figure, ...Object.fromEntries(runs.map((run) => [run.run_id, value(run)])) }))
  return (
    <Section
      title="Figures"
      aside={
        <SaveButtons
          what="the figures"
          ways={{
            CSV: () => saveFile('runs.csv', csv(rows()), 'text/csv'),
            JSON: () => saveFile('runs.json', JSON.stringify(runs, null, 2), 'application/json'),
          }}
        />
      }
    >
      <div role="region" aria-label="The runs’ figures" tabIndex={0} className="overflow-x-auto">
        <table className="w-full">
          <thead>
            <tr>
              <td />
              {runs.map(({ run_id, sae }) => (
                <th key={run_id} scope="col" className={`${HEAD} text-ink`}>
                  {run_id} · {sae.size}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {LINES.map(([name, title, value]) => (
              <tr key={name} className="border-t border-line">
                <th scope="row" title={title} className="py-1 text-left font-normal whitespace-nowrap text-soft">{name}</th>
                {runs.map((run) => (
                  <td key={run.run_id} className={CELL}>{value(run)}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Section>
  )
}
