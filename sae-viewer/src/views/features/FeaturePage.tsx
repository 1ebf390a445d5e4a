import { useRef } from 'react'
import { Link } from 'wouter'
import { SHARED } from '../../base'
import { FeatureCalled } from '../../components/FeatureName'
import { Icon } from '../../components/Icon'
import { Failure } from '../../components/Notices'
import { ClassName } from '../../components/Outcome'
import { SeedBadge } from '../../components/SeedBadge'
import { useKeys } from '../../hooks/useKeys'
import { useLook } from '../../hooks/useLooks'
import { useUnit } from '../../hooks/useUnit'
import type { FeatureInfo, Run } from '../../interpAPI'
import { HEADLINES, writeAddress, type FeaturesAddress } from '../../lib/address'
import { count, counted, percent, rarity } from '../../lib/format'
import { FOUND, FOUND_IN_SEEDS, type Stability } from '../../lib/stability'
import { Classes } from './Classes'
import { Examples, StrongestIn } from './Examples'
import { Histogram } from './Histogram'
import { LabelEditor } from './LabelEditor'
import { LabelShown } from './LabelShown'
import { FoundNaming } from './Naming'
import { Similar } from './Similar'
import { Statistics } from './Statistics'
import { Steps } from './Steps'
import { useFeature, useHeadlineCount } from './useFeature'
import { Words } from './Words'

/** A feature's page: its words, activations, classes, examples, similar features and statistics. */
export function FeaturePage({ feature, address, run }: { feature: number; address: FeaturesAddress; run: Run }) {
  const { data, error, refetch } = useFeature(run.run_id, feature)
  useLook('features', data && String(feature))
  const page = useRef<HTMLElement>(null)
  const walk = (by: 1 | -1) => {
    const links = [...(page.current?.querySelectorAll<HTMLElement>('[data-example]') ?? [])]
    const at = links.indexOf(document.activeElement as HTMLElement)
    const to = links[at < 0 ? 0 : at + by]
    to?.focus({ preventScroll: true })
    to?.closest('li')?.scrollIntoView({ block: 'nearest' })
  }
  useKeys({ j: () => walk(1), k: () => walk(-1) })

  return (
    <article ref={page} aria-label={`Feature ${feature}`}>
      <header className="flex flex-wrap items-baseline justify-between gap-x-6 gap-y-2 pt-5 lg:pt-6">
        <h1 className="flex min-w-0 flex-wrap items-baseline gap-x-3 font-serif text-[1.75rem] leading-9">
          <span className="whitespace-nowrap">Feature {feature}</span>
          {data && (
            <span className="flex max-w-full min-w-0 items-baseline gap-2 pr-1 wrap-anywhere text-plum [&_bdi]:whitespace-normal">
              <FeatureCalled feature={feature} found={data.found_name} word={data.word} />
            </span>
          )}
        </h1>
        <Steps feature={feature} address={address} run={run} />
      </header>
      {SHARED !== undefined && <LabelShown feature={feature} />}
      {feature < run.totals.n_features && SHARED === undefined && <LabelEditor key={`${run.sae_hash} ${feature}`} feature={feature} run={run} />}
      {error && !data && <Failure error={error} retry={() => void refetch()} />}
      {!data && !error && <Waiting />}
      {data && <Body info={data} address={address} run={run} />}
    </article>
  )
}

function Body({ info, address, run }: { info: FeatureInfo; address: FeaturesAddress; run: Run }) {
  const statistics = <Statistics info={info} nFeatures={run.totals.n_features} />
  // The words stand beside the histogram; in a run without words the statistics do.
  const beside = info.words.length > 0 ? <Words words={info.words} address={address} /> : statistics
  return (
    <>
      <Reach info={info} address={address} />
      {run.stability && info.status !== 'dead' && <Seeds info={info} stability={run.stability} />}
      <Contents info={info} address={address} />
      {(info.naming ?? info.explanation) && (
        <div className="mt-6">
          <FoundNaming info={info} />
        </div>
      )}
      <div className={`mt-6 grid grid-cols-1 gap-x-12 gap-y-9 ${info.histogram ? 'xl:grid-cols-2' : 'max-w-[44rem]'}`}>
        {info.histogram && <Histogram histogram={info.histogram} feature={info.feature} />}
        {beside}
      </div>
      <div className="mt-9 empty:hidden">
        <Classes info={info} />
      </div>
      {!info.examples_saved && (
        <p className="mt-7 flex max-w-[44rem] items-start gap-2.5 rounded-md bg-sunk px-4 py-3 leading-6">
          <Icon name="info" className="mt-1 text-faint" />
          {info.message ?? 'No examples were saved for this feature.'}
        </p>
      )}
      {info.examples_saved ? <Examples info={info} address={address} /> : <StrongestIn info={info} address={address} />}
      <div className="mt-10 space-y-10">
        <Similar info={info} size={run.sae.size} address={address} />
        {beside !== statistics && statistics}
      </div>
    </>
  )
}

/** Links to the parts of the page. */
function Contents({ info, address }: { info: FeatureInfo; address: FeaturesAddress }) {
  const similar = info.similar_decoder.length + info.similar_cofiring.length + info.family.length > 0
  const parts: [id: string, name: string, present: boolean][] = [
    ['name', 'Name', info.naming !== null || info.explanation !== null],
    ['words', 'Words', info.words.length > 0],
    ['classes', 'Classes', true],
    ['examples', 'Examples', true],
    ['similar', 'Similar features', similar],
    ['statistics', 'Statistics', true],
  ]
  return (
    <nav aria-label="On this page" className="mt-2 flex flex-wrap gap-x-4 gap-y-1 text-xs">
      {parts.map(([id, name, present]) =>
        present ? (
          <button key={id} type="button" className="quiet" onClick={() => document.getElementById(id)?.scrollIntoView()}>
            {name}
          </button>
        ) : null,
      )}
      {SHARED === undefined && (
        <Link className="quiet font-semibold" href={writeAddress({ ...address, card: true })}>
          Card to cite
        </Link>
      )}
    </nav>
  )
}

/** How many headlines it fires in, which class it indicates, and a link to its headlines. */
function Reach({ info, address }: { info: FeatureInfo; address: FeaturesAddress }) {
  const { n_headlines: n, n_headlines_in_run: all, feature, leaning, labels, density, status } = info
  const leading = useHeadlineCount(info.run_id, feature)
  const unit = useUnit()
  if (n === 0) return <p className="mt-1.5 leading-6 text-soft">Fires in none of the {counted(all, 'headline')} of this run.</p>
  return (
    <p className="mt-1.5 leading-6 text-soft">
      Fires in <span className="text-ink">{counted(n, 'headline')}</span> of {count(all)} ({percent(n / all)}){unit === 'token' && ` and on ${rarity(density)} of tokens`}.{' '}
      {status === 'thin' && <strong className="font-semibold text-wrong">Thin support: too few headlines for reliable statistics. </strong>}
      {leaning !== null && (
        <>
          Best indicates{' '}
          <span className="text-ink">
            <ClassName labels={labels} index={leaning} />
          </span>
          .{' '}
        </>
      )}
      {leading === 0 && 'It is among the strongest features of no headline.'}
      {!!leading && (
        <Link className="quiet" href={writeAddress({ ...HEADLINES, run: address.run, feature })}>
          {counted(leading, 'headline')} {leading === 1 ? 'has' : 'have'} it among {leading === 1 ? 'its' : 'their'} strongest
        </Link>
      )}
    </p>
  )
}

/** In how many trainings with other seeds it is found. */
function Seeds({ info, stability }: { info: FeatureInfo; stability: Stability }) {
  const found = info.stats.find(({ name }) => name === FOUND_IN_SEEDS)?.value ?? 0
  return (
    <p className="mt-1 text-xs leading-5 text-soft">
      <SeedBadge found={found} stability={stability} room /> {FOUND} {found === 0 && 'This feature is found in none, so it may be an accident of its training.'}
    </p>
  )
}

function Waiting() {
  return (
    <div role="status" aria-label="Loading the feature" className="mt-2">
      <span className="skeleton block h-4 w-80 max-w-full" />
      <div className="mt-9 grid grid-cols-1 gap-12 xl:grid-cols-2">
        <span className="skeleton block h-72" />
        <span className="skeleton block h-72" />
      </div>
      {Array.from({ length: 4 }, (_, i) => (
        <span key={i} className="skeleton mt-6 block h-12" />
      ))}
    </div>
  )
}
