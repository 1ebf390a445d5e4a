import { unitOf } from '../../hooks/useUnit'
import type { RunMetadata, SaeReport } from '../../interpAPI'
import { count, counted, number, percent } from '../../lib/format'
import { CELL, HEAD, Section, Strong } from './Section'

/** What the SAE reads. */
const POSITIONS: Record<RunMetadata['sae']['positions'], string> = {
  words: 'words',
  all: 'all tokens',
  cls: '[CLS], one vector per headline',
  mean: 'the mean of a headline’s words, one vector per headline',
}

/** Whose activations the reconstruction replaces. */
const SPLICED: Record<RunMetadata['sae']['positions'], string> = { words: 'words', all: 'all tokens', cls: '[CLS]', mean: 'words, all by the same vector,' }

/** The SAE of the run among the SAEs of its family: sparsity, reconstruction, and predictions when spliced. */
export function SaeFamily({ run }: { run: RunMetadata }) {
  const family: [string, SaeReport][] = Object.entries(run.sae_family)
  const rows = family.length > 0 ? family : [[run.sae.size, run.sae.report] as [string, SaeReport]]
  const { spliced } = run.sae.report
  return (
    <Section title="Sparse autoencoder">
      <p className="pb-2">
        <Strong>{count(run.sae.d_sae)}</Strong> features on layer {run.hookpoint.layer}, {run.sae.kind}, <Source sae={run.sae} />.
        <span className="block text-xs text-soft">
          Counted positions: {POSITIONS[run.sae.positions]}. {counted(run.totals.n_live_features, 'feature')} {run.totals.n_live_features === 1 ? 'fires' : 'fire'} in this run.
        </span>
      </p>
      <div role="region" aria-label="Figures by size" tabIndex={0} className="overflow-x-auto">
        <table className="w-full">
          <thead>
            <tr>
              <th scope="col" className={`${HEAD} pl-0! text-left!`}>size</th>
              <th scope="col" className={HEAD} title={`Active features per ${unitOf(run)}, train / held out`}>L0</th>
              <th scope="col" className={HEAD} title="Fraction of variance unexplained, train / held out">FVU</th>
              <th scope="col" className={HEAD} title="Share of features that never fire on train">dead</th>
              {run.labelled && <th scope="col" className={HEAD} title="Accuracy when the reconstruction replaces the activations">spliced</th>}
              <th scope="col" className={HEAD} title="Share of predictions that stay the same when the reconstruction is spliced in">unchanged</th>
            </tr>
          </thead>
          <tbody>
            {rows.map(([size, report]) => (
              <tr key={size} className={`border-t border-line ${size === run.sae.size ? 'font-semibold' : ''}`}>
                <th scope="row" className={`py-1 text-left ${size === run.sae.size ? 'font-semibold' : 'font-normal'}`}>{size}</th>
                <Pair train={report.train.l0} heldOut={report.held_out.l0} />
                <Pair train={report.train.fvu} heldOut={report.held_out.fvu} />
                <td className={CELL}>{percent(report.dead_share)}</td>
                {run.labelled && <td className={CELL}>{percent(report.spliced.accuracy_spliced)}</td>}
                <td className={CELL}>{percent(report.spliced.unchanged)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <p className="mt-1.5 text-xs text-soft">
        Of two figures, the first is for train and the second for held-out headlines. {run.labelled ? 'Spliced: the' : 'Unchanged: predictions that stay the same when the'} reconstruction replaces the activations of {SPLICED[spliced.positions]} in{' '}
        {count(spliced.n_headlines)} {spliced.split} headlines{run.labelled && `; accuracy without it is ${percent(spliced.accuracy_clean)}`}.
        {spliced.baselines.length > 0 &&
          ` Recovered loss: ${spliced.baselines.map(({ kind, recovered_loss }) => `${percent(recovered_loss)} (${kind} ablation)`).join(', ')}.`}
      </p>
    </Section>
  )
}

/** Where the SAE comes from: its training here, or the files of another library. */
function Source({ sae }: { sae: RunMetadata['sae'] }) {
  if (!sae.origin) return `recipe ${sae.recipe}, L1 ${sae.l1_coefficient}`
  const { architecture, format, name } = sae.origin
  return (
    <>
      imported from <Strong>{name}</Strong> ({architecture} of {format})
    </>
  )
}

/** Train / held out; on narrow screens one above the other. */
function Pair({ train, heldOut }: { train: number; heldOut: number }) {
  return (
    <td className={CELL}>
      <span className="max-sm:block">{number(train)}</span>
      <span className="max-sm:sr-only"> / </span>
      <span className="max-sm:block max-sm:font-normal max-sm:text-soft">{number(heldOut)}</span>
    </td>
  )
}
