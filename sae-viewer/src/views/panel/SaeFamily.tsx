import type { RunMetadata, SaeReport } from '../../interpAPI'
import { count, number, percent } from '../../lib/format'
import { CELL, HEAD, Section, Strong } from './Section'

/** The SAE of the run among those of its family: sparsity, reconstruction, what splicing costs. */
export function SaeFamily({ run }: { run: RunMetadata }) {
  const family: [string, SaeReport][] = Object.entries(run.sae_family)
  const rows = family.length > 0 ? family : [[run.sae.size, run.sae.report] as [string, SaeReport]]
  const { spliced } = run.sae.report
  return (
    <Section title="Sparse autoencoder">
      <p className="pb-2">
        <Strong>{count(run.sae.d_sae)}</Strong> features on layer {run.hookpoint.layer}, {run.sae.kind}, recipe {run.sae.recipe}, L1{' '}
        {run.sae.l1_coefficient}.
        <span className="block text-xs text-soft">
          Counted positions: {run.sae.positions}. {count(run.totals.n_live_features)} features fire in this run.
        </span>
      </p>
      <div role="region" aria-label="The sizes’ figures" tabIndex={0} className="overflow-x-auto">
        <table className="w-full">
          <thead>
            <tr>
              <th scope="col" className={`${HEAD} pl-0! text-left!`}>size</th>
              <th scope="col" className={HEAD} title="active features per token, train / held out">L0</th>
              <th scope="col" className={HEAD} title="share of variance not explained, train / held out">FVU</th>
              <th scope="col" className={HEAD} title="features silent on all of train">dead</th>
              <th scope="col" className={HEAD} title="accuracy with the reconstruction in place of the activations">spliced</th>
              <th scope="col" className={HEAD} title="predictions that stay the same when spliced">unchanged</th>
            </tr>
          </thead>
          <tbody>
            {rows.map(([size, report]) => (
              <tr key={size} className={`border-t border-line ${size === run.sae.size ? 'font-semibold' : ''}`}>
                <th scope="row" className={`py-1 text-left ${size === run.sae.size ? 'font-semibold' : 'font-normal'}`}>{size}</th>
                <Pair train={report.train.l0} heldOut={report.held_out.l0} />
                <Pair train={report.train.fvu} heldOut={report.held_out.fvu} />
                <td className={CELL}>{percent(report.dead_share)}</td>
                <td className={CELL}>{percent(report.spliced.accuracy_spliced)}</td>
                <td className={CELL}>{percent(report.spliced.unchanged)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <p className="mt-1.5 text-xs text-soft">
        Pairs are train / held out. Spliced: {spliced.positions} replaced on {count(spliced.n_headlines)} {spliced.split} headlines;
        accuracy without it {percent(spliced.accuracy_clean)}.
        {(spliced.baselines ?? []).map(({ kind, recovered_loss }) => ` Of what ${kind} ablation costs, ${percent(recovered_loss)} of the loss is recovered.`)}
      </p>
    </Section>
  )
}

/** Train / held out; one above the other where it is narrow. */
function Pair({ train, heldOut }: { train: number; heldOut: number }) {
  return (
    <td className={CELL}>
      <span className="max-sm:block">{number(train)} / </span>
      <span className="max-sm:block">{number(heldOut)}</span>
    </td>
  )
}
