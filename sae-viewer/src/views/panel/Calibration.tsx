import { Link } from 'wouter'
import { FeatureCalled } from '../../components/FeatureName'
import type { CalibrationAnswer, Run } from '../../interpAPI'
import { FEATURES, writeAddress, type Address } from '../../lib/address'
import { count, counted, inPoints, number, percent } from '../../lib/format'
import { ReliabilityChart, RiskCoverage, SIGNALS } from './CalibrationCharts'
import { Finding } from './Finding'
import { CELL, HEAD, Strong } from './Section'
import { useCalibration } from './useCalibration'

const VERDICTS: Record<CalibrationAnswer['verdict'], string> = {
  helps: 'Features help to say when to abstain: with them, fewer errors remain than with confidence alone.',
  unproven: 'It is not proven that features help to say when to abstain.',
  hurts: 'Features do not help to say when to abstain: with them, more errors remain than with confidence alone.',
  unknown: 'No feature is doubtful, so confidence alone says when to abstain.',
}
const SHOWN = [1, 0.9, 0.8, 0.5] // shares of headlines that are answered
const LISTED = 12 // doubtful features

/** How far probabilities can be trusted, and when the classifier should abstain. */
export function Calibration({ run, address }: { run: Run; address: Address }) {
  return (
    <Finding title="Calibration and abstention" answer={useCalibration(run.run_id)} none="no_calibration" what="the calibration" table={{ name: 'abstention', rows }}>
      {(file) => <Found file={file} address={address} />}
    </Finding>
  )
}

/** The error rates as a table. */
const rows = (file: CalibrationAnswer) =>
  file.rankings.flatMap((one) => one.error_rates.map((rate, n) => ({ signal: one.signal, answered: file.coverages[n], error_rate: rate })))

function Found({ file, address }: { file: CalibrationAnswer; address: Address }) {
  return (
    <>
      <p className="max-w-[56rem] pb-4">
        <Strong>{fit(file)}</Strong>{' '}
        <Strong>{VERDICTS[file.verdict]}</Strong>
        <span className="mt-1 block text-xs text-soft">
          The temperature, the doubtful features and the orders come from {counted(file.n_fit, 'headline')}, of which {count(file.n_fit_errors)} are predicted wrongly. Probabilities and error
          rates are of {count(file.n_test)} others, of which {count(file.n_test_errors)} are predicted wrongly.
        </span>
      </p>
      <div className="grid grid-cols-1 gap-x-12 gap-y-6 md:grid-cols-2">
        <ReliabilityChart file={file} name={`${file.run_id}-reliability`} />
        <RiskCoverage file={file} name={`${file.run_id}-risk-coverage`} />
        <Probabilities file={file} />
        <Orders file={file} />
        <Doubtful file={file} address={address} />
      </div>
    </>
  )
}

/** The scores of the probabilities before and after the temperature. */
function Probabilities({ file }: { file: CalibrationAnswer }) {
  const rows = [
    { name: 'as it is', scores: file.before },
    { name: `temperature ${file.temperature.toFixed(2)}`, scores: file.after },
  ]
  return (
    <div role="region" aria-label="Probabilities" tabIndex={0} className="min-w-0 overflow-x-auto">
      <table className="w-full">
        <thead>
          <tr>
            <th scope="col" className={`${HEAD} pl-0! text-left!`}>probabilities</th>
            <th scope="col" className={HEAD} title="Mean of the highest probability">confidence</th>
            <th scope="col" className={HEAD} title="Expected calibration error: the mean distance of confidence and accuracy">error</th>
            <th scope="col" className={HEAD} title="Mean of −ln p of the true class, in nats">NLL</th>
            <th scope="col" className={HEAD} title="Mean squared distance of the probabilities from the truth">Brier</th>
          </tr>
        </thead>
        <tbody>
          {rows.map(({ name, scores }) => (
            <tr key={name} className="border-t border-line">
              <th scope="row" className="py-1 text-left font-normal">{name}</th>
              <td className={CELL}>{percent(scores.confidence)}</td>
              <td className={CELL}>{percent(scores.ece)}</td>
              <td className={CELL}>{scores.nll.toFixed(3)}</td>
              <td className={CELL}>{scores.brier.toFixed(3)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}

/** The error rates that each order of the headlines leaves. */
function Orders({ file }: { file: CalibrationAnswer }) {
  const shown = SHOWN.map((share) => file.coverages.indexOf(share)).filter((n) => n >= 0)
  return (
    <div role="region" aria-label="Error rates" tabIndex={0} className="min-w-0 overflow-x-auto">
      <table className="w-full">
        <thead>
          <tr>
            <th scope="col" className={`${HEAD} pl-0! text-left!`}>errors, by share answered</th>
            {shown.map((n) => (
              <th key={n} scope="col" className={HEAD}>{whole(file.coverages[n] ?? 1)}</th>
            ))}
            <th scope="col" className={HEAD} title="The error rate, averaged over all shares; brackets: 95 % interval of the difference from confidence">mean</th>
          </tr>
        </thead>
        <tbody>
          {file.rankings.map((ranking) => (
            <tr key={ranking.signal} className="border-t border-line">
              <th scope="row" className="py-1 text-left font-normal">{SIGNALS[ranking.signal]}</th>
              {shown.map((n) => (
                <td key={n} className={CELL}>{percent(ranking.error_rates[n] ?? 0)}</td>
              ))}
              <td className={CELL}>
                {percent(ranking.area)}
                {ranking.beyond_confidence && <span className="block text-xs text-soft">[{inPoints(ranking.beyond_confidence[0])}, {inPoints(ranking.beyond_confidence[1])} points]</span>}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}

/** The features that fire in more of the errors, and how many are unstable. */
function Doubtful({ file, address }: { file: CalibrationAnswer; address: Address }) {
  const features = file.error_features.slice(0, LISTED)
  return (
    <div className="min-w-0 md:col-span-2">
      <p className="text-xs text-soft">
        Doubtful features: {count(file.error_features.length)} of {count(file.n_compared)} fire in more of the errors than elsewhere, where chance gives at most {count(Math.round(0.05 * file.n_compared))}
        {file.n_unstable == null ? '' : `; ${count(file.n_unstable)} are not found by all other seeds`}.
        {features.length > 0 && ' The first ones, with the share of their headlines that is predicted wrongly:'}
      </p>
      <ul className="mt-1.5 flex flex-wrap gap-x-5 gap-y-1">
        {features.map((one) => (
          <li key={one.feature} className="max-w-56 min-w-0" title={`${one.n_errors} of ${counted(one.n_headlines, 'headline')} are predicted wrongly; p ${number(one.p)}`}>
            <Link href={writeAddress({ ...FEATURES, run: address.run, feature: one.feature })} className="flex min-w-0 items-baseline gap-1.5 hover:underline">
              <span className="text-soft tabular-nums">{one.feature}</span>
              <FeatureCalled feature={one.feature} found={file.found_names[one.feature]} word={undefined} />
              <span className="shrink-0 text-soft tabular-nums">{whole(one.n_errors / Math.max(one.n_headlines, 1))}</span>
            </Link>
          </li>
        ))}
      </ul>
    </div>
  )
}

/** What the temperature says of the probabilities. */
function fit({ temperature, before, after }: CalibrationAnswer): string {
  if (Math.abs(Math.log(temperature)) < 0.05 || after.nll >= before.nll) return 'No temperature makes the probabilities fit better.'
  return `The probabilities are too ${temperature > 1 ? 'sure' : 'unsure'}: they fit better if the logits are divided by ${temperature.toFixed(2)}.`
}

const whole = (share: number) => `${Math.round(100 * share)}\u00a0%`
