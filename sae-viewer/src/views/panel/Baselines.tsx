import { useState } from 'react'
import { WithCommands } from '../../components/Notices'
import { SaveButtons } from '../../components/SaveButtons'
import type { EvidenceAnswer, Run } from '../../interpAPI'
import { csv, saveFile, type Row } from '../../lib/download'
import { claimOn, failed, RIVALS, verdictOn, type Claim, type ProbeScore, type Rival } from '../../lib/evidence'
import { count, number, percent } from '../../lib/format'
import { Section } from './Section'
import { useEvidence } from './useEvidence'

const HEAD = 'py-1 pl-4 text-right align-bottom text-xs font-normal whitespace-nowrap text-soft'
const CELL = 'py-1 pl-4 text-right align-top whitespace-nowrap tabular-nums'
const SHOWN = 6

/** The SAE and its baselines; words say where the SAE is not better. */
export function Baselines({ run }: { run: Run }) {
  const { data, error } = useEvidence(run.run_id)
  return (
    <Section
      title="Baselines"
      className="md:col-span-2"
      aside={
        data && (
          <SaveButtons
            what="the baselines"
            ways={{
              CSV: () => saveFile(`${run.run_id}-baselines.csv`, csv(rows(data)), 'text/csv'),
              JSON: () => saveFile(`${run.run_id}-baselines.json`, JSON.stringify(data, null, 2), 'application/json'),
            }}
          />
        )
      }
    >
      {error ? (
        <p className={error.code === 'no_evidence' ? 'text-soft' : 'text-wrong'}>
          <WithCommands>{error.message}</WithCommands>
        </p>
      ) : data ? (
        <Compared evidence={data} />
      ) : (
        <span className="skeleton block h-60" />
      )}
    </Section>
  )
}

function Compared({ evidence }: { evidence: EvidenceAnswer }) {
  const { controls, claims, n_test, n_resamples } = evidence
  const sizes = controls[0]?.probing.map(({ k }) => k) ?? []
  const measured = claims.length > 0
  return (
    <>
      <div role="region" aria-label="Baselines" tabIndex={0} className="overflow-x-auto">
        <table className="w-full">
          <thead>
            <tr>
              <th scope="col" className={`${HEAD} pl-0! text-left!`}>SAE or baseline</th>
              <th scope="col" className={HEAD} title="Mean number of active features (or components, neurons) per token, held out">L0</th>
              <th scope="col" className={HEAD} title="Fraction of variance unexplained, held out">FVU</th>
              <th scope="col" className={HEAD} title="Share of predictions that stay the same when the reconstruction is spliced in">unchanged</th>
              {sizes.map((k) => (
                <th key={k} scope="col" className={HEAD} title="AUROC of a probe that predicts the label, mean over classes, on test">
                  AUROC, {k === null ? 'all units' : `k = ${k}`}
                </th>
              ))}
              {measured && <th scope="col" className={HEAD} title="Macro-F1 of the probe on all units">macro-F1, all</th>}
            </tr>
          </thead>
          <tbody>
            {controls.map((rival) => (
              <RivalRow key={rival.name} rival={rival} sizes={sizes} claims={claims} measured={measured} />
            ))}
          </tbody>
        </table>
      </div>
      {measured && <Claims claims={claims} />}
      <p className="mt-2 max-w-[56rem] text-xs text-soft">
        A probe is a logistic regression that predicts the label of a headline. It reads the k units that separate a class best on train, or all units. A unit is a
        feature (its maximum over the headline), a component, a neuron or a word. The ridge penalty is chosen on dev, and the scores are of{' '}
        {n_test === null ? 'the test headlines' : `${count(n_test)} test headlines`}. Baselines with an L0 are about as sparse as the SAE.
        {n_resamples !== null && ` Intervals contain 95 % of ${count(n_resamples)} resamples of the test headlines; all rows use the same resamples.`}
      </p>
    </>
  )
}

function RivalRow({ rival, sizes, claims, measured }: { rival: Rival; sizes: (number | null)[]; claims: readonly Claim[]; measured: boolean }) {
  const { name, code, spliced, probing, fvu_interval } = rival
  const [shown, description] = RIVALS[name]
  const probe = (k: number | null) => probing.find((one) => one.k === k)
  const whole = probe(null)
  return (
    <tr className={`border-t border-line ${name === 'sae' ? 'bg-sunk/60' : ''}`}>
      <th scope="row" title={description} className={`py-1 text-left align-top whitespace-nowrap ${name === 'sae' ? 'font-semibold' : 'font-normal'}`}>
        {shown}
      </th>
      <td className={CELL}>{code ? number(code.l0) : '–'}</td>
      <Figure value={code?.fvu} ends={fvu_interval} verdict={verdictOn(claimOn(claims, name, 'fvu'))} />
      <td className={CELL}>{spliced ? percent(spliced.unchanged) : '–'}</td>
      {sizes.map((k) => (
        <Figure key={k} value={probe(k)?.auroc} ends={probe(k)?.auroc_interval} verdict={probe(k) ? verdictOn(claimOn(claims, name, 'auroc', k)) : ''} />
      ))}
      {measured && <Figure value={whole?.macro_f1} ends={whole?.macro_f1_interval} verdict="" />}
    </tr>
  )
}

/** A figure above its interval, and in words whether the SAE is not better. */
function Figure({ value, ends, verdict }: { value: number | null | undefined; ends: [number, number] | null | undefined; verdict: string }) {
  return (
    <td className={CELL}>
      {value == null ? '–' : value.toFixed(3)}
      {value != null && ends && (
        <span className="block text-xs text-faint">
          {ends[0].toFixed(3)}–{ends[1].toFixed(3)}
        </span>
      )}
      {verdict && <span className="block text-xs text-wrong">{verdict}</span>}
    </td>
  )
}

/** The claims that fail, in sentences. */
function Claims({ claims }: { claims: readonly Claim[] }) {
  const [all, setAll] = useState(false)
  const failing = failed(claims)
  const shown = all ? failing : failing.slice(0, SHOWN)
  return (
    <div className="mt-4 max-w-[56rem]">
      <p className="font-semibold">
        {failing.length === 0
          ? `All ${claims.length} claims that the SAE is better than a baseline hold.`
          : `${failing.length} of ${claims.length} claims that the SAE is better than a baseline fail:`}
      </p>
      <ul className="mt-1 list-disc space-y-0.5 pl-5 text-sm">
        {shown.map(({ sentence }) => (
          <li key={sentence}>{sentence}</li>
        ))}
      </ul>
      {failing.length > SHOWN && (
        <button type="button" className="quiet mt-1 text-xs" aria-expanded={all} onClick={() => setAll(!all)}>
          {all ? 'Fewer' : `All ${failing.length}`}
        </button>
      )}
      <p className="mt-1 text-xs text-soft">A claim holds if the 95 % interval of the difference lies above 0. The intervals are not corrected for the number of claims.</p>
    </div>
  )
}

/** A row for each probe, with the L0 and FVU of its SAE or baseline. */
function rows({ controls, claims }: EvidenceAnswer): Row[] {
  const row = ({ name, code, spliced, fvu_interval }: Rival, probe: ProbeScore): Row => ({
    units: name,
    l0: code?.l0,
    fvu: code?.fvu,
    fvu_low: fvu_interval?.[0],
    fvu_high: fvu_interval?.[1],
    unchanged: spliced?.unchanged,
    k: probe.k ?? 'all',
    auroc: probe.auroc,
    auroc_low: probe.auroc_interval?.[0],
    auroc_high: probe.auroc_interval?.[1],
    macro_f1: probe.macro_f1,
    macro_f1_low: probe.macro_f1_interval?.[0],
    macro_f1_high: probe.macro_f1_interval?.[1],
    accuracy: probe.accuracy,
    accuracy_low: probe.accuracy_interval?.[0],
    accuracy_high: probe.accuracy_interval?.[1],
    sae_is: claimOn(claims, name, 'auroc', probe.k)?.verdict,
  })
  return controls.flatMap((rival) => rival.probing.map((probe) => row(rival, probe)))
}
