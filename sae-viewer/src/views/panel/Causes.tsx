import { useCauses } from '../../hooks/useCauses'
import type { Agreement, InterventionsAnswer, Run } from '../../interpAPI'
import { count, counted } from '../../lib/format'
import { Finding } from './Finding'
import { CELL, HEAD, Strong } from './Section'

const USES: Record<Agreement['estimate'], { name: string; use: string }> = {
  integrated: { name: 'integrated gradients', use: 'shares in the waterfall' },
  gradient: { name: 'gradient × activation', use: 'order of removal, candidates for flips' },
}
const CHOSEN: Record<Agreement['chosen'], string> = { attribution: 'largest effects', activation: 'largest activations', random: 'random features' }

/** How far the causes of predictions can be trusted: estimates beside ablations, interactions, and what does not flip. */
export function Causes({ run }: { run: Run }) {
  return (
    <Finding title="Causes" answer={useCauses(run.run_id)} none="no_interventions" what="the agreement of estimates" table={{ name: 'agreement', rows }}>
      {(file) => (
        <div className="grid grid-cols-1 gap-x-12 gap-y-6 md:grid-cols-2">
          <Agreements agreement={file.agreement} />
          <div className="space-y-3">
            <Interactions file={file} />
            <Unflipped file={file} />
          </div>
        </div>
      )}
    </Finding>
  )
}

const rows = ({ agreement }: InterventionsAnswer) =>
  agreement.map(({ estimate, chosen, n_pairs, pearson, spearman, pearson_within, spearman_within }) => ({ estimate, chosen, n_pairs, pearson, spearman, pearson_within, spearman_within }))

/** Which estimate is used for what, and how it correlates with true ablation. */
function Agreements({ agreement }: { agreement: readonly Agreement[] }) {
  const [first] = agreement
  if (!first) return <p className="text-soft">Estimates were not compared with ablations in this run.</p>
  const chosen = [...new Set(agreement.map((one) => one.chosen))]
  const estimates = [...new Set(agreement.map((one) => one.estimate))]
  return (
    <div role="region" aria-label="Agreement with ablation" tabIndex={0} className="min-w-0 overflow-x-auto">
      <table className="w-full">
        <thead>
          <tr>
            <th scope="col" className={`${HEAD} pl-0! text-left!`}>agreement with ablation</th>
            {chosen.map((name) => (
              <th key={name} scope="col" className={HEAD}>{CHOSEN[name]}</th>
            ))}
          </tr>
        </thead>
        <tbody>
          {estimates.map((estimate) => (
            <tr key={estimate} className="border-t border-line">
              <th scope="row" className="py-1 text-left font-normal">
                {USES[estimate].name}
                <span className="block text-xs text-soft">{USES[estimate].use}</span>
              </th>
              {chosen.map((name) => {
                const found = agreement.find((one) => one.estimate === estimate && one.chosen === name)
                return (
                  <td key={name} className={CELL} title={found && `Spearman ${found.spearman.toFixed(2)}; within a headline (median) Pearson ${found.pearson_within.toFixed(2)}`}>
                    {found?.pearson.toFixed(2)}
                  </td>
                )
              })}
            </tr>
          ))}
        </tbody>
      </table>
      <p className="mt-1 text-xs text-soft">
        Pearson’s correlation of the estimated effect on the predicted class with that of a true ablation, over {counted(first.n_pairs, 'feature')} in {counted(first.n_headlines, 'headline')}. What the waterfall calls
        alone is the true ablation itself.
      </p>
    </div>
  )
}

/** How far single ablations are from the joint one, and what pairs explain. */
function Interactions({ file: { interactions: found } }: { file: InterventionsAnswer }) {
  if (!found) return null
  return (
    <p>
      In <Strong>{count(found.n_above)}</Strong> of {counted(found.n_headlines, 'headline')}, the sum of the single effects of the listed features differs from their joint effect by more than {Math.round(100 * found.share)} % of it and by more than{' '}
      {found.floor} logits.
      <span className="mt-1 block text-xs text-soft">
        The median difference over all headlines is {found.median_miss.toFixed(2)} logits.
        {found.measured_miss != null &&
          found.left_miss != null &&
          ` With the interactions of all pairs added, that of ${counted(found.n_measured, 'headline')} among these falls from ${found.measured_miss.toFixed(2)} to ${found.left_miss.toFixed(2)}.`}
      </span>
    </p>
  )
}

/** How many predictions ablation flips, why it does not flip the others, and how many of them clamping does. */
function Unflipped({ file }: { file: InterventionsAnswer }) {
  const searches = [
    { what: 'predictions', verb: 'changes', n: file.flips_searched, found: file.flips_found, held: file.unflipped },
    { what: 'wrong predictions', verb: 'repairs', n: file.repairs_searched, found: file.repairs_found, held: file.unrepaired },
  ]
  return searches.map(
    ({ what, verb, n, found, held }) =>
      n > 0 && (
        <p key={what}>
          Ablating a few features {verb} <Strong>{count(found)}</Strong> of {count(n)} {what}.
          {held && held.n_base + held.n_spread > 0 && (
            <span className="mt-1 block text-xs text-soft">
              Of the others, {count(held.n_base)} {held.n_base === 1 ? 'stays' : 'stay'} with all features ablated and {count(held.n_spread)} {held.n_spread === 1 ? 'needs' : 'need'} more features ablated than a flip may ablate. Clamping features to what is typical of the other class {verb}{' '}
              {count(held.n_clamped)} of them.
            </span>
          )}
        </p>
      ),
  )
}
