import { useState } from 'react'
import { Word } from '../../components/HeatText'
import { ClassMark } from '../../components/Outcome'
import { go } from '../../hooks/useAddress'
import { useLabelled } from '../../hooks/useLabelled'
import type { DiffAnswer, DiffFeature, Run } from '../../interpAPI'
import type { Address } from '../../lib/address'
import { className } from '../../lib/classes'
import { CHANGES, factor, rows, strongestClass, summary, type Change } from '../../lib/diff'
import { signed } from '../../lib/effects'
import { count, counted, percent } from '../../lib/format'
import { visible } from '../../lib/text'
import { ChangedFeature } from './ChangedFeature'
import { Finding } from './Finding'
import { GrowthChart } from './GrowthChart'
import { CELL, HEAD, Strong } from './Section'
import { useDiff } from './useDiff'

/** Features of each kind of change that are shown at first. */
const FIRST = 8
const WORDS = 6
/** The least effect that is named, in logits. */
const LEAST = 0.005
const TITLES: Record<Change, string> = { grown: 'Grown', faded: 'Faded', turned: 'Turned' }
const MEANINGS: Record<Change, string> = {
  grown: 'at least 1.5 times as strong as before, those that grew most first',
  faded: 'at most two thirds as strong as before, those that faded most first',
  turned: 'about as strong as before, in another direction',
}
const ROLES: Record<DiffAnswer['models'][number]['role'], string> = { before: 'before', after: 'after', control: 'another seed' }

/** Which features fine-tuning changed, how many of them another seed changes too, and what the changed ones do. */
export default function Diff({ run, address }: { run: Run; address: Address }) {
  return (
    <Finding title="What fine-tuning changed" answer={useDiff(run.run_id)} none="no_diff" what="the changed features" table={{ name: 'diff', rows }}>
      {(file) => <Found file={file} address={address} />}
    </Finding>
  )
}

function Found({ file, address }: { file: DiffAnswer; address: Address }) {
  return (
    <>
      <p className="max-w-[56rem] pb-4">
        <Strong>{summary(file)}</Strong>
        <span className="mt-1 block text-xs text-soft">
          One crosscoder of {count(file.d_sae)} features, {file.k} of them active, reads layer {file.layer} of all models at once. It was trained on {count(file.n_vectors)} vectors of the training
          headlines; everything else is measured on {counted(file.n_headlines, 'headline')} of the run. Its features are not those of the run’s SAE.
        </span>
      </p>
      <div className="grid grid-cols-1 gap-x-12 gap-y-6 md:grid-cols-2">
        <GrowthChart file={file} />
        <div className="min-w-0 space-y-5">
          <Models file={file} />
          <Sets file={file} />
        </div>
      </div>
      {CHANGES.map((change) => (
        <Changed key={change} change={change} file={file} address={address} />
      ))}
    </>
  )
}

/** The models that are compared. */
function Models({ file }: { file: DiffAnswer }) {
  return (
    <div role="region" aria-label="Models" tabIndex={0} className="overflow-x-auto">
      <table className="w-full">
        <thead>
          <tr>
            <th scope="col" className={`${HEAD} pl-0! text-left!`}>model</th>
            <th scope="col" className={HEAD}>accuracy</th>
            <th scope="col" className={HEAD} title="Variance of its activations that the crosscoder leaves unexplained">FVU</th>
          </tr>
        </thead>
        <tbody>
          {file.models.map((model) => (
            <tr key={model.role} className="border-t border-line">
              <th scope="row" className="py-1 text-left font-normal wrap-anywhere">
                <span className="text-soft">{ROLES[model.role]}</span> <bdi>{visible(model.model)}</bdi>
              </th>
              <td className={CELL}>{model.accuracy == null ? '' : percent(model.accuracy)}</td>
              <td className={CELL}>{model.fvu.toFixed(3)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}

/** What ablating the changed features together does, beside random sets. */
function Sets({ file }: { file: DiffAnswer }) {
  const labelled = useLabelled()
  if (file.sets.length === 0) return null
  return (
    <div>
      <div role="region" aria-label="Changed features ablated" tabIndex={0} className="overflow-x-auto">
        <table className="w-full">
          <thead>
            <tr>
              <th scope="col" className={`${HEAD} pl-0! text-left! max-sm:whitespace-normal`}>ablated together</th>
              {labelled && <th scope="col" className={HEAD}>accuracy</th>}
              <th scope="col" className={HEAD} title="Share of the predictions that change">changed</th>
              <th scope="col" className={HEAD} title="The same with random sets ablated, on average">random</th>
              <th scope="col" className={HEAD} title="Activation × strength, summed over all headlines: that of a random set as a share of that of the changed features">contribution</th>
            </tr>
          </thead>
          <tbody>
            {file.sets.map((set) => (
              <tr key={`${set.change} ${set.role}`} className="border-t border-line">
                <th scope="row" className="py-1 text-left font-normal">
                  {set.n_features} that {set.change === 'grown' ? 'grew' : 'faded'} most{set.role === 'control' && ', in the other seed'}
                </th>
                {labelled && (
                  <td className={`${CELL} max-sm:whitespace-normal`}>
                    <span className="whitespace-nowrap">{percent(set.accuracy_before)} →</span>{' '}
                    <span className="whitespace-nowrap">{percent(set.accuracy_after)}</span>
                  </td>
                )}
                <td className={`${CELL} font-semibold`}>{percent(set.changed)}</td>
                <td className={CELL} title={`${percent(Math.max(...set.random_changed))} at most`}>{percent(mean(set.random_changed))}</td>
                <td className={CELL}>{percent(set.random_contribution)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <p className="mt-1.5 text-xs text-soft">
        Measured on {counted(file.sets[0]?.n_headlines ?? 0, 'headline')}. “Changed” is the share of predictions that change. “Random” is the same with as many other features ablated; “contribution” is what they contribute, as a share of what the changed features do.
        {file.replication && (
          <>
            {' '}
            {count(file.replication.n_both)} of the {count(file.replication.n_after)} that grew also grew with the other seed; by chance, {count(Math.round(file.replication.expected))} would.
          </>
        )}
      </p>
    </div>
  )
}

/** The features of one kind of change; one of them may be open. */
function Changed({ change, file, address }: { change: Change; file: DiffAnswer; address: Address }) {
  const [all, setAll] = useState(false)
  const features = file.features.filter((one) => one.change === change)
  if (features.length === 0) return null
  const open = address.view === 'unknown' ? undefined : address.change
  const shown = features.filter((one, n) => all || n < FIRST || one.feature === open)
  const choose = (feature: number) => {
    if (address.view !== 'unknown') go({ ...address, panel: 'diff', change: feature === open ? undefined : feature }, true)
  }
  return (
    <section aria-label={TITLES[change]} className="mt-7">
      <h3 className="flex flex-wrap items-baseline gap-x-3">
        <span className="font-serif text-lg">{TITLES[change]}</span>
        <span className="text-xs text-soft">
          {count(file.counts[change])}: {MEANINGS[change]}
        </span>
      </h3>
      <ul className="mt-1 border-t border-line">
        {shown.map((one) => (
          <li key={one.feature} className="border-b border-line">
            <Row feature={one} labels={file.labels} open={one.feature === open} onChoose={() => choose(one.feature)} />
            {one.feature === open && <ChangedFeature feature={one} file={file} address={address} />}
          </li>
        ))}
      </ul>
      {features.length > shown.length && (
        <button type="button" className="quiet mt-2 text-sm" onClick={() => setAll(true)}>
          Show all {count(features.length)}
        </button>
      )}
    </section>
  )
}

function Row({ feature, labels, open, onChoose }: { feature: DiffFeature; labels: readonly string[]; open: boolean; onChoose: () => void }) {
  const { index, effect } = strongestClass(feature.effects)
  return (
    <button
      type="button"
      aria-expanded={open}
      onClick={onChoose}
      className="grid w-full grid-cols-[3.25rem_4.5rem_minmax(0,1fr)] items-baseline gap-x-3 px-1 py-1.5 text-left hover:bg-sunk aria-expanded:bg-sunk md:grid-cols-[3.5rem_5.5rem_minmax(0,1fr)_10rem_7rem]"
    >
      <span className="text-right text-soft tabular-nums">{feature.feature}</span>
      <span className="font-semibold whitespace-nowrap tabular-nums" title={feature.change === 'turned' ? 'Cosine between its directions before and after' : 'Strength after over before, relative to the median feature'}>
        {feature.change === 'turned' ? `cos ${feature.cosine.toFixed(2)}` : factor(feature.growth)}
      </span>
      <span className="min-w-0 truncate">
        {feature.words.slice(0, WORDS).map((word, n) => (
          <span key={word}>
            {n > 0 && <span className="text-faint">, </span>}
            <Word>{word}</Word>
          </span>
        ))}
      </span>
      <span className="col-start-3 inline-flex min-w-0 items-center gap-1.5 text-xs text-soft md:col-start-auto" title={`Mean effect on the ${className(labels, index)} logit where it fires`}>
        {Math.abs(effect) >= LEAST && (
          <>
            <ClassMark labels={labels} index={index} />
            <bdi className="truncate">{className(labels, index)}</bdi> {signed(effect)}
          </>
        )}
      </span>
      <span className="hidden text-right text-xs whitespace-nowrap text-soft tabular-nums md:block">{counted(feature.n_headlines, 'headline')}</span>
    </button>
  )
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / Math.max(values.length, 1)
