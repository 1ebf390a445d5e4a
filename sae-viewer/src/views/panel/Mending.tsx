import { Link } from 'wouter'
import { FeatureCalled } from '../../components/FeatureName'
import { SaveAsSet } from '../../components/SaveAsSet'
import type { MendingAnswer, MendingChange, Run } from '../../interpAPI'
import { FEATURES, writeAddress, type Address } from '../../lib/address'
import { count, counted, inPoints, number, percent } from '../../lib/format'
import { visible } from '../../lib/text'
import { Finding } from './Finding'
import { CELL, HEAD, Strong } from './Section'
import { useMending } from './useMending'

/** Edits that are listed. */
const LISTED = 64

const VERDICTS: Record<MendingAnswer['verdict'], string> = {
  none: 'No edit lowers the risk on headlines that did not choose it, so none is made.',
  harms: 'The edits do not hold: on other headlines they make as many errors as they mend, or more.',
  unproven: 'The edits mend more errors than they make on other headlines, but this may be chance, or random features do as well.',
  holds: 'On headlines that did not choose them, the edits mend significantly more errors than they make, and few random sets do as well.',
}

/** Which features are edited so that wrong predictions are mended, and what the edits do on headlines that chose nothing. */
export function Mending({ run, address }: { run: Run; address: Address }) {
  return (
    <Finding title="Mended predictions" answer={useMending(run.run_id)} none="no_mending" what="the edits" table={{ name: 'mending', rows }}>
      {(file) => <Found file={file} run={run} address={address} />}
    </Finding>
  )
}

/** The steps of the search as a table. */
const rows = (file: MendingAnswer) => file.steps.map((step, n) => ({ ...step, kept: n < file.edits.length }))

function Found({ file, run, address }: { file: MendingAnswer; run: Run; address: Address }) {
  const features = file.edits.map(({ feature }) => feature)
  const set = file.config['set']
  return (
    <>
      <p className="max-w-[56rem] pb-4">
        <Strong>{VERDICTS[file.verdict]}</Strong>
        <span className="mt-1 block text-xs text-soft">
          {file.n_search > 0
            ? `Edits were searched on ${counted(file.n_search, 'headline')}, of which ${count(file.n_search_errors)} are predicted wrongly; ${count(file.n_stopping)} others chose how many are kept.`
            : typeof set === 'string'
              ? `The ${counted(features.length, 'feature')} of the set “${visible(set)}” ${features.length === 1 ? 'was' : 'were'} ablated.`
              : 'The edits were given by hand.'}{' '}
          The risk is the mean probability of all classes but the true one.
        </span>
      </p>
      <div className="grid grid-cols-1 gap-x-12 gap-y-6 md:grid-cols-2">
        <div className="min-w-0 space-y-2">
          <Edits file={file} address={address} />
          <SaveAsSet run={run} total={features.length} features={() => features} />
        </div>
        {file.change && <Changes file={file} change={file.change} />}
      </div>
    </>
  )
}

/** The edits in the order in which they were found; those that were not kept are pale. */
function Edits({ file, address }: { file: MendingAnswer; address: Address }) {
  const steps = file.steps.length > 0 ? file.steps : file.edits.map((edit) => ({ ...edit, n_headlines: undefined, risk: undefined, stopping_risk: undefined }))
  if (steps.length === 0) return null
  const searched = file.steps.length > 0
  return (
    <div role="region" aria-label="Edits" tabIndex={0} className="min-w-0 overflow-x-auto">
      <table className="w-full">
        <thead>
          <tr>
            <th scope="col" className={`${HEAD} pl-0! text-left!`}>feature</th>
            <th scope="col" className={HEAD}>edit</th>
            {searched && (
              <>
                <th scope="col" className={HEAD} title="Headlines of the search in which it fires">headlines</th>
                <th scope="col" className={HEAD} title="Mean over the headlines of the search, with the edits up to here">risk</th>
                <th scope="col" className={HEAD} title="Mean over the headlines that choose how many edits are kept">risk, unsearched</th>
              </>
            )}
          </tr>
        </thead>
        <tbody>
          {searched && (
            <tr className="border-t border-line">
              <th scope="row" className="py-1 text-left font-normal text-soft">none</th>
              <td className={CELL} />
              <td className={CELL} />
              <td className={CELL}>{risk(file.risk)}</td>
              <td className={CELL}>{risk(file.stopping_risk)}</td>
            </tr>
          )}
          {steps.slice(0, LISTED).map((step, n) => (
            <tr key={step.feature} className={`border-t border-line ${n < file.edits.length ? '' : 'text-faint'}`}>
              <th scope="row" className="max-w-48 py-1 text-left font-normal">
                <Link href={writeAddress({ ...FEATURES, run: address.run, feature: step.feature })} className="flex min-w-0 items-baseline gap-1.5 hover:underline">
                  <span className="text-soft tabular-nums">{step.feature}</span>
                  <FeatureCalled feature={step.feature} found={file.found_names[step.feature]} word={undefined} />
                </Link>
              </th>
              <td className={CELL}>
                {step.factor === 0 ? 'ablated' : `× ${step.factor}`}
                {n >= file.edits.length && ' (not kept)'}
              </td>
              {searched && (
                <>
                  <td className={CELL}>{step.n_headlines}</td>
                  <td className={CELL}>{risk(step.risk)}</td>
                  <td className={CELL}>{risk(step.stopping_risk)}</td>
                </>
              )}
            </tr>
          ))}
        </tbody>
      </table>
      {steps.length > LISTED && <p className="pt-1 text-xs text-soft">The first {LISTED} of {counted(steps.length, 'edit')} are listed.</p>}
    </div>
  )
}

/** The predictions before and after, beside the last layer fitted anew and random features. */
function Changes({ file, change }: { file: MendingAnswer; change: MendingChange }) {
  const sets = file.random_sets
  const mean = sets ? sets.accuracy_changes.reduce((sum, one) => sum + one, 0) / sets.accuracy_changes.length : 0
  return (
    <div className="min-w-0">
      <div role="region" aria-label="Predictions before and after" tabIndex={0} className="overflow-x-auto">
        <table className="w-full">
          <thead>
            <tr>
              <th scope="col" className={`${HEAD} pl-0! text-left!`}>{counted(change.n_headlines, 'other headline')}</th>
              <th scope="col" className={HEAD}>accuracy</th>
              <th scope="col" className={HEAD}>macro-F1</th>
              <th scope="col" className={HEAD} title="Wrong before and right after">mended</th>
              <th scope="col" className={HEAD} title="Right before and wrong after">made</th>
              <th scope="col" className={HEAD} title="McNemar’s exact test, two-sided">p</th>
            </tr>
          </thead>
          <tbody>
            <tr className="border-t border-line">
              <th scope="row" className="py-1 text-left font-normal">as it is</th>
              <td className={CELL}>{percent(change.accuracy_before)}</td>
              <td className={CELL}>{change.macro_f1_before.toFixed(3)}</td>
              <td className={CELL} colSpan={3} />
            </tr>
            <Row name="with the edits" change={change} strong />
            {file.last_layer && <Row name="last layer fitted anew" change={file.last_layer} />}
          </tbody>
        </table>
      </div>
      {sets && (
        <p className="mt-2 text-xs text-soft">
          {counted(sets.accuracy_changes.length, 'set')} of random features that fire in about as many headlines change the accuracy by {inPoints(mean)} points on average and{' '}
          {inPoints(Math.max(...sets.accuracy_changes))} points at most; {count(sets.n_as_good)} {sets.n_as_good === 1 ? 'is' : 'are'} as good as the edits.
        </p>
      )}
      {file.slices.length > 0 && (
        <p className="mt-1 text-xs text-soft">
          {file.slices.map((part) => (
            <span key={part.name} className="block">
              Headlines {visible(part.name)} ({count(part.n_headlines)}): {counted(part.mended, 'error')} mended, {count(part.made)} made.
            </span>
          ))}
        </p>
      )}
    </div>
  )
}

function Row({ name, change, strong = false }: { name: string; change: MendingChange; strong?: boolean }) {
  return (
    <tr className={`border-t border-line ${strong ? 'font-semibold' : ''}`}>
      <th scope="row" className={`py-1 text-left ${strong ? 'font-semibold' : 'font-normal'}`}>{name}</th>
      <td className={CELL} title={change.interval ? `95 % interval of the change ${inPoints(change.interval[0])} to ${inPoints(change.interval[1])} points` : undefined}>
        {percent(change.accuracy_after)}
      </td>
      <td className={CELL}>{change.macro_f1_after.toFixed(3)}</td>
      <td className={CELL}>{count(change.mended)}</td>
      <td className={CELL}>{count(change.made)}</td>
      <td className={CELL}>{number(change.mcnemar_p)}</td>
    </tr>
  )
}

const risk = (value: number | null | undefined) => (value == null ? '' : value.toFixed(4))
