import { useState } from 'react'
import { Link } from 'wouter'
import { MAY_HAVE_BENCH } from '../../base'
import { FeatureCalled } from '../../components/FeatureName'
import { Word } from '../../components/HeatText'
import { Icon } from '../../components/Icon'
import { ClassName } from '../../components/Outcome'
import type { ContrastAnswer, ContrastPair, KindOfChange, MovedFeature, RunMetadata } from '../../interpAPI'
import { BENCH, FEATURES, HEADLINES, writeAddress, type Address } from '../../lib/address'
import { writeBench } from '../../lib/bench'
import { className } from '../../lib/classes'
import { marked, transitions } from '../../lib/contrast'
import { signed, strongestEffect } from '../../lib/effects'
import { count, counted, number, percent } from '../../lib/format'
import { visible } from '../../lib/text'

/** Pairs that are shown at first. */
const FIRST = 5
/** Transitions that are named. */
const NAMED = 4

interface Props {
  answer: ContrastAnswer
  run: RunMetadata
  address: Address
}

/** One kind of change: which predictions become which, the features that move, and the pairs. */
export function ContrastKind({ kind, ...given }: { kind: KindOfChange } & Props) {
  const [all, setAll] = useState(false)
  const { run } = given
  const changes = transitions(kind)
  const against = kind.pairs.filter(({ as_expected }) => !as_expected).length
  return (
    <div className="px-1 pt-1 pb-5">
      <p className="text-soft first-letter:capitalize">{visible(kind.description)}.</p>
      {changes.length > 0 && (
        <p className="mt-1 flex flex-wrap items-center gap-x-4 gap-y-1">
          {changes.slice(0, NAMED).map(({ from, to, n }) => (
            <span key={`${from} ${to}`} className="inline-flex items-center gap-1.5">
              <ClassName labels={run.labels} index={from} />
              <span aria-label="becomes">→</span>
              <ClassName labels={run.labels} index={to} />
              <span className="text-soft tabular-nums">{counted(n, 'pair')}</span>
            </span>
          ))}
        </p>
      )}
      <Features kind={kind} {...given} />
      {kind.pairs.length > 0 && (
        <>
          <h3 className="eyebrow mt-5">
            Pairs: {against > 0 ? `${count(against)} against expectation first` : 'those that move the prediction most'}
          </h3>
          <ul>
            {kind.pairs.slice(0, all ? undefined : FIRST).map((pair, i) => (
              <Pair key={i} pair={pair} expectation={kind.expectation} {...given} />
            ))}
          </ul>
          {kind.pairs.length > FIRST && (
            <button type="button" className="quiet mt-2" onClick={() => setAll(!all)}>
              {all ? 'Show fewer' : `Show all ${count(kind.pairs.length)} saved pairs`}
            </button>
          )}
        </>
      )}
    </div>
  )
}

/** The features that a kind of change moves most, with what each does where it fires more, and what its ablation explains. */
function Features({ kind, answer, run, address }: { kind: KindOfChange } & Props) {
  if (kind.features.length === 0) return <p className="mt-2 text-soft">No feature moves.</p>
  return (
    <div role="region" aria-label="Features that move" tabIndex={0} className="mt-4 overflow-x-auto">
      <table className="w-full">
        <thead>
          <tr className="text-xs text-soft">
            <th scope="col" className="py-1 text-left font-normal">feature</th>
            <th scope="col" className="py-1 pl-3 text-left font-normal" title="The word on which it most often fires most, where it fires more">fires on</th>
            <th scope="col" className="py-1 pl-3 text-right font-normal" title="Pairs in which it fires in one version only">switches</th>
            <th scope="col" className="py-1 pl-3 text-left font-normal" title="What it adds where it fires more, mean and 95 % interval, in logits">effect where it fires more</th>
            <th scope="col" className="py-1 pl-3 text-right font-normal" title="Pairs whose predictions become equal when it is ablated">explains</th>
          </tr>
        </thead>
        <tbody>
          {kind.features.map((one) => (
            <tr key={one.feature} className="border-t border-line">
              <th scope="row" className="max-w-32 py-1 text-left font-normal sm:max-w-72">
                <Link href={writeAddress({ ...FEATURES, run: address.run, feature: one.feature })} className="flex min-w-0 items-baseline gap-1.5 hover:underline">
                  <span className="text-soft tabular-nums">{one.feature}</span>
                  <FeatureCalled feature={one.feature} found={answer.found_names[one.feature]} word={undefined} />
                </Link>
              </th>
              <td className="max-w-24 truncate py-1 pl-3">
                {one.word ? <Word>{one.word}</Word> : <span className="text-faint">the whole text</span>}
              </td>
              <td className="py-1 pl-3 text-right whitespace-nowrap tabular-nums">
                {count(one.n_switched)} of {count(kind.n_pairs)}
              </td>
              <td className="py-1 pl-3 whitespace-nowrap tabular-nums">
                <Effect moved={one} labels={run.labels} />
              </td>
              <td className="py-1 pl-3 text-right whitespace-nowrap tabular-nums">{kind.n_tested > 0 ? `${count(one.n_explained)} of ${count(kind.n_tested)}` : '–'}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {kind.n_tested > 0 && (
        <p className="mt-1 text-xs text-soft">
          Of {counted(kind.n_tested, 'changed prediction')}, the leading {kind.explained.map(({ n_features }) => n_features).join(', ')} features explain{' '}
          {kind.explained.map(({ n_pairs }) => count(n_pairs)).join(', ')}: without them the two predictions are equal.
        </p>
      )}
    </div>
  )
}

function Effect({ moved, labels }: { moved: MovedFeature; labels: readonly string[] }) {
  const strongest = strongestEffect(moved.effects)
  if (!strongest) return null
  const { index, effect } = strongest
  const [low, high] = [moved.low?.[index], moved.high?.[index]]
  return (
    <>
      {signed(effect)} {className(labels, index)}
      {low !== undefined && high !== undefined && <span className="text-xs text-soft"> ({signed(low)} to {signed(high)})</span>}
    </>
  )
}

/** A text before and after its change. */
function Pair({ pair, expectation, answer, run, address }: { pair: ContrastPair; expectation: KindOfChange['expectation'] } & Props) {
  const [from, to] = pair.predictions
  const { target } = pair
  return (
    <li className="border-b border-line py-3">
      <Version name="before" text={pair.before} spans={pair.before_spans} prediction={from} probability={pair.probabilities[0][from] ?? 0} labels={run.labels} />
      <Version name="after" text={pair.after} spans={pair.after_spans} prediction={to} probability={pair.probabilities[1][to] ?? 0} labels={run.labels} />
      <p className="mt-1 flex flex-wrap items-center gap-x-4 gap-y-1 text-xs text-soft">
        <span className={`inline-flex items-center gap-1 ${pair.as_expected ? 'text-correct' : 'text-wrong'}`}>
          <Icon name={pair.as_expected ? 'check' : 'cross'} size={13} />
          {pair.as_expected ? 'as expected' : 'not as expected'}
          {target !== null && `: ${expectation} ${className(run.labels, target)}, ${percent(pair.probabilities[0][target] ?? 0)} → ${percent(pair.probabilities[1][target] ?? 0)}`}
        </span>
        {pair.headline !== null && (
          <Link href={writeAddress({ ...HEADLINES, run: address.run, sort: 'position', open: pair.headline })} className="quiet">
            Open the headline
          </Link>
        )}
        {MAY_HAVE_BENCH && (
          <Link
            href={writeAddress({ ...BENCH, run: address.run, bench: writeBench({ text: pair.after, from: pair.before, edits: [] }), headline: pair.headline ?? undefined })}
            className="quiet"
          >
            Compare both on the bench
          </Link>
        )}
      </p>
      {pair.features.length > 0 && (
        <ul aria-label="Features that differ" className="mt-1.5 flex flex-wrap gap-1.5">
          {pair.features.map(({ feature, word, before, after }) => (
            <li key={feature} className="min-w-0">
              <Link href={writeAddress({ ...FEATURES, run: address.run, feature })} className="chip" title={`Activation ${number(before)} before, ${number(after)} after`}>
                <span className="text-soft">{feature}</span>
                <FeatureCalled feature={feature} found={answer.found_names[feature]} word={word} />
                <span className="tabular-nums">
                  {number(before)} → {number(after)}
                </span>
              </Link>
            </li>
          ))}
        </ul>
      )}
    </li>
  )
}

function Version({ name, text, spans, prediction, probability, labels }: {
  name: 'before' | 'after'
  text: string
  spans: ContrastPair['before_spans']
  prediction: number
  probability: number
  labels: readonly string[]
}) {
  const Mark = name === 'before' ? 'del' : 'ins'
  return (
    <div className="grid grid-cols-1 gap-x-5 sm:grid-cols-[minmax(0,1fr)_11rem]">
      <bdi className="font-serif wrap-anywhere whitespace-pre-wrap">
        <span className="sr-only">{name}: </span>
        {marked(text, spans).map((part, i) =>
          part.changed ? (
            <Mark key={i} className={name === 'before' ? 'text-wrong decoration-1' : 'bg-sunk font-semibold text-correct no-underline'}>
              {visible(part.text)}
            </Mark>
          ) : (
            <span key={i}>{visible(part.text)}</span>
          ),
        )}
      </bdi>
      <span className="flex min-w-0 items-baseline gap-2 text-xs sm:justify-end">
        <ClassName labels={labels} index={prediction} />
        <span className="text-soft tabular-nums">{percent(probability)}</span>
      </span>
    </div>
  )
}
