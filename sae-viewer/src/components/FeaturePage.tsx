import { Fragment, useRef } from 'react'
import { Link } from 'wouter'
import { go } from '../hooks/useAddress'
import { useFeature, useHeadlineCount, useHeadlines, useNeighbours } from '../hooks/useApi'
import { useKeys } from '../hooks/useKeys'
import type { FeatureInfo, Prompt, RunMetadata } from '../interpAPI'
import { HEADLINES, writeAddress, type FeaturesAddress } from '../lib/address'
import { count, counted, metricUnit, metricValue, number, percent } from '../lib/format'
import type { Grain } from '../lib/text'
import { HeatLegend, HeatText, Word } from './HeatText'
import { Histogram } from './Histogram'
import { Icon } from './Icon'
import { Failure } from './Notices'
import { isCorrect, Outcome, OutcomeLine, Verdict } from './Outcome'

/** Fewer headlines than this are thin evidence for anything said about a feature. */
const THIN = 5

/** A feature's page: what it fires on, how much, and how it stands among the others. */
export function FeaturePage({ feature, address, run }: { feature: number; address: FeaturesAddress; run: RunMetadata }) {
  const { data, error, refetch } = useFeature(run.run_id, feature)
  const metric = address.metric ?? run.metrics[0]?.name
  const rank = address.q ? undefined : data?.stats.find(({ name }) => name === metric)?.rank
  const { previous, next } = useNeighbours(
    { run: run.run_id, metric: address.metric },
    rank === undefined ? undefined : rank - 1,
  )
  const last = run.totals.n_features - 1
  // Within a search the list has no ranks: previous and next are by number.
  const before = rank === undefined ? within(feature - 1, last) : previous
  const after = rank === undefined ? within(feature + 1, last) : next
  const show = (id: number | undefined) => id !== undefined && go({ ...address, feature: id })
  const page = useRef<HTMLElement>(null)
  const walk = (by: 1 | -1) => {
    const links = [...(page.current?.querySelectorAll<HTMLElement>('[data-example]') ?? [])]
    const at = links.indexOf(document.activeElement as HTMLElement)
    const to = links[at < 0 ? 0 : at + by]
    to?.focus({ preventScroll: true })
    to?.closest('li')?.scrollIntoView({ block: 'nearest' })
  }
  useKeys({ '[': () => show(before), ']': () => show(after), j: () => walk(1), k: () => walk(-1) })

  return (
    <article ref={page} aria-label={`Feature ${feature}`}>
      <header className="flex flex-wrap items-baseline justify-between gap-x-6 gap-y-2 pt-5 lg:pt-6">
        <h1 className="flex min-w-0 flex-wrap items-baseline gap-x-3 font-serif text-[1.75rem] leading-9">
          <span className="whitespace-nowrap">Feature {feature}</span>
          {data?.word != null && <Word className="max-w-full truncate text-plum italic">{data.word}</Word>}
        </h1>
        <div className="flex gap-2">
          <Step name="[" label="Previous feature" icon="left" to={before} show={show} />
          <Step name="]" label="Next feature" icon="right" to={after} show={show} />
        </div>
      </header>
      {error && !data && <Failure error={error} retry={() => void refetch()} />}
      {!data && !error && <Waiting />}
      {data && (
        <>
          <Reach info={data} address={address} />
          <div className="mt-6 grid grid-cols-1 gap-x-12 gap-y-8 xl:grid-cols-[minmax(0,27rem)_minmax(0,1fr)]">
            <Statistics info={data} nFeatures={run.totals.n_features} />
            {data.histogram && <Histogram histogram={data.histogram} />}
            {!data.examples_saved && (
              <p className="flex items-start gap-2.5 self-start rounded-md bg-sunk px-4 py-3 leading-6">
                <Icon name="info" className="mt-1 text-faint" />
                {data.message ?? 'No examples were saved for this feature.'}
              </p>
            )}
          </div>
          {data.examples_saved ? <Examples info={data} address={address} /> : <Headlines info={data} address={address} />}
        </>
      )}
    </article>
  )
}

function within(feature: number, last: number): number | undefined {
  return feature >= 0 && feature <= last ? feature : undefined
}

function Step({ name, label, icon, to, show }: {
  name: string
  label: string
  icon: 'left' | 'right'
  to: number | undefined
  show: (id: number | undefined) => void
}) {
  return (
    <button
      type="button"
      className="button"
      aria-disabled={to === undefined}
      aria-label={to === undefined ? label : `${label}: ${to}`}
      aria-keyshortcuts={name}
      onClick={() => show(to)}
    >
      {icon === 'left' && <Icon name="left" size={14} />}
      <span className="min-w-9 tabular-nums">{to ?? '–'}</span>
      {icon === 'right' && <Icon name="right" size={14} />}
    </button>
  )
}

/** On how many headlines it fires, and where to see them. */
function Reach({ info, address }: { info: FeatureInfo; address: FeaturesAddress }) {
  const { n_headlines: n, n_headlines_in_run: all, feature } = info
  const leading = useHeadlineCount(info.run_id, feature)
  return (
    <p className="mt-1.5 leading-6 text-soft">
      {n === 0 ? (
        `Fires on none of the ${counted(all, 'headline')} of this run.`
      ) : (
        <>
          Fires on <span className="text-ink">{counted(n, 'headline')}</span> of {count(all)} ({percent(n / all)}).{' '}
          {n < THIN && <strong className="font-semibold text-wrong">Thin evidence: fewer than {THIN} headlines. </strong>}
          {leading === 0 && 'In none is it among the strongest features.'}
          {!!leading && (
            <Link className="quiet" href={writeAddress({ ...HEADLINES, run: address.run, feature })}>
              {counted(leading, 'headline')} {leading === 1 ? 'has' : 'have'} it among their strongest
            </Link>
          )}
        </>
      )}
    </p>
  )
}

function Statistics({ info, nFeatures }: { info: FeatureInfo; nFeatures: number }) {
  return (
    <section aria-label="Statistics">
      <table className="w-full text-sm">
        <caption className="sr-only">Statistics over the run’s counted tokens</caption>
        <thead className="text-xs text-soft">
          <tr className="border-b border-line">
            <th scope="col" className="pb-1.5 text-left font-normal">statistic</th>
            <th scope="col" className="pb-1.5 text-right font-normal">value</th>
            <th scope="col" className="w-28 pb-1.5 text-right font-normal">rank of {count(nFeatures)}</th>
          </tr>
        </thead>
        <tbody>
          {info.stats.map(({ name, value, rank }) => {
            const metric = info.metrics.find((one) => one.name === name)
            return (
              <Fragment key={name}>
                <tr>
                  <th scope="row" className="pt-2 text-left font-normal">{metric?.label ?? name}</th>
                  <td className="pt-2 text-right whitespace-nowrap tabular-nums">
                    {metricValue(name, value)} <span className="text-xs text-faint">{metricUnit(name)}</span>
                  </td>
                  <td className="pt-2 text-right tabular-nums">{count(rank)}</td>
                </tr>
                <tr className="border-b border-line">
                  <td colSpan={3} className="pb-2 text-xs text-faint">{metric?.description}</td>
                </tr>
              </Fragment>
            )
          })}
        </tbody>
      </table>
      <p className="mt-2 text-xs text-soft">f is the activation in units of the normalised residual stream; rank 1 is the highest.</p>
    </section>
  )
}

/** The strongest tokens in their headlines. */
function Examples({ info, address }: { info: FeatureInfo; address: FeaturesAddress }) {
  const max = Math.max(...info.examples.flatMap(({ values }) => values), 0)
  return (
    <section aria-label="Top examples" className="mt-9">
      <SectionHead title={`Top ${counted(info.examples.length, 'example')}`} address={address} max={max} />
      <ol>
        {info.examples.map((example, i) => (
          <ExampleRow
            key={`${example.headline} ${example.position}`}
            place={i + 1}
            activation={example.activation}
            prompt={example.prompt}
            labels={info.labels}
            heat={{ positions: example.positions, values: example.values, max, peak: example.position }}
            grain={address.grain}
            href={writeAddress({ ...HEADLINES, run: address.run, open: example.headline })}
          />
        ))}
      </ol>
    </section>
  )
}

/** In place of examples: headlines that have the feature among their strongest. */
function Headlines({ info, address }: { info: FeatureInfo; address: FeaturesAddress }) {
  const { first } = useHeadlines({ run: info.run_id, feature: info.feature }, [0, 0])
  const found = (first?.headlines ?? []).flatMap((headline) => {
    const fired = headline.features.find(({ feature }) => feature === info.feature)
    return fired ? [{ headline, fired }] : []
  })
  if (found.length === 0) return null
  const shown = found.sort((one, other) => other.fired.activation - one.fired.activation).slice(0, 20)
  const max = shown[0]?.fired.activation ?? 1
  return (
    <section aria-label="Headlines" className="mt-6">
      <SectionHead title="Headlines where it is among the strongest" address={address} max={max} />
      <ol>
        {shown.map(({ headline, fired }, i) => (
          <ExampleRow
            key={headline.headline}
            place={i + 1}
            activation={fired.activation}
            prompt={headline}
            labels={info.labels}
            heat={{ positions: fired.positions, values: fired.values, max, peak: fired.position }}
            grain={address.grain}
            href={writeAddress({ ...HEADLINES, run: address.run, open: headline.headline })}
          />
        ))}
      </ol>
    </section>
  )
}

function SectionHead({ title, address, max }: { title: string; address: FeaturesAddress; max: number }) {
  return (
    <div className="flex flex-wrap items-center justify-between gap-x-6 gap-y-2 border-b border-line pb-2">
      <h2 className="font-serif text-lg">{title}</h2>
      <div className="flex flex-wrap items-center gap-x-6 gap-y-1">
        <HeatLegend max={max} what="activation f" />
        <label className="flex items-center gap-1.5 text-xs text-soft">
          <input
            type="checkbox"
            checked={address.grain === 'pieces'}
            onChange={(event) => go({ ...address, grain: event.target.checked ? 'pieces' : 'words' }, true)}
          />
          Show tokens as the model reads them
        </label>
      </div>
    </div>
  )
}

function ExampleRow({ place, activation, prompt, labels, heat, grain, href }: {
  place: number
  activation: number
  prompt: Prompt
  labels: readonly string[]
  heat: { positions: number[]; values: number[]; max: number; peak: number }
  grain: Grain
  href: string
}) {
  return (
    <li className="grid scroll-my-16 grid-cols-[3.25rem_minmax(0,1fr)] gap-x-4 border-b border-line py-3 md:grid-cols-[3.5rem_minmax(0,1fr)_5rem_12.5rem]">
      <p className="pt-0.5 text-right">
        <span className="block text-base tabular-nums">{number(activation)}</span>
        <span className="block text-xs text-faint">no. {place}</span>
      </p>
      <Link href={href} data-example className="headline group block self-start">
        <span className="decoration-edge underline-offset-4 group-hover:underline">
          <HeatText prompt={prompt} heat={heat} grain={grain} />
        </span>
      </Link>
      <div className="col-start-2 mt-1 md:hidden">
        <OutcomeLine prompt={prompt} labels={labels} />
      </div>
      <p className="hidden pt-1 text-sm md:block">
        <Verdict correct={isCorrect(prompt)} />
      </p>
      <div className="hidden pt-0.5 md:block">
        <Outcome prompt={prompt} labels={labels} />
      </div>
    </li>
  )
}

function Waiting() {
  return (
    <div role="status" aria-label="Loading the feature" className="mt-2">
      <span className="skeleton block h-4 w-80 max-w-full" />
      <div className="mt-9 grid grid-cols-1 gap-12 xl:grid-cols-[minmax(0,27rem)_minmax(0,1fr)]">
        <span className="skeleton block h-72" />
        <span className="skeleton block h-72" />
      </div>
      {Array.from({ length: 4 }, (_, i) => (
        <span key={i} className="skeleton mt-6 block h-12" />
      ))}
    </div>
  )
}
