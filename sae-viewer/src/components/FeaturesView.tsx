import { useCallback, useEffect, useRef, useState } from 'react'
import { Link } from 'wouter'
import { go } from '../hooks/useAddress'
import { useFeatures, useRank, type Range } from '../hooks/useApi'
import type { FeaturesPage, RunMetadata } from '../interpAPI'
import { wholeNumber, writeAddress, type FeaturesAddress } from '../lib/address'
import { count, counted } from '../lib/format'
import { Choice } from './Choice'
import { FeatureColumns, FeatureRowLink, SkeletonFeature, shownMetrics } from './FeatureRow'
import { FeaturePage } from './FeaturePage'
import { Icon } from './Icon'
import { Failure, Note, Notice } from './Notices'
import { SearchBox } from './SearchBox'
import { PageList, PaneList, type VirtualListHandle } from './VirtualList'

/** The Features tab: all features by a metric; with one chosen, its page beside the list. */
export function FeaturesView({ address, run }: { address: FeaturesAddress; run: RunMetadata }) {
  const one = address.feature
  if (one === undefined) {
    return (
      <div className="mx-auto max-w-[84rem] px-4 pb-16 sm:px-6">
        <h1 className="sr-only">Features</h1>
        <FeatureList address={address} run={run} />
      </div>
    )
  }
  return (
    <div className="mx-auto grid max-w-[96rem] 3xl:max-w-[114rem] grid-cols-1 gap-x-10 px-4 sm:px-6 lg:grid-cols-[21rem_minmax(0,1fr)]">
      <aside aria-label="All features" className="hidden lg:sticky lg:top-14 lg:flex lg:h-[calc(100dvh-3.5rem)] lg:flex-col lg:self-start">
        <FeatureList address={address} run={run} inPane />
      </aside>
      <div className="min-w-0 pb-16">
        <Link
          href={writeAddress({ ...address, feature: undefined })}
          className="quiet mt-4 lg:hidden"
        >
          <Icon name="left" size={14} /> All features
        </Link>
        <FeaturePage feature={one} address={address} run={run} />
      </div>
    </div>
  )
}

function FeatureList({ address, run, inPane = false }: { address: FeaturesAddress; run: RunMetadata; inPane?: boolean }) {
  const metric = address.metric ?? run.metrics[0]?.name ?? ''
  const query = { run: run.run_id, metric: address.metric, q: address.q }
  const [range, setRange] = useState<Range>([0, 0])
  const { first, shown, stale, at, error, retry } = useFeatures(query, range)
  const list = useRef<VirtualListHandle>(null)
  const pane = useRef<HTMLDivElement>(null)
  const onLeave = useCallback(() => list.current?.focusRow(0), [])
  const info = run.metrics.find(({ name }) => name === metric)
  const metrics = shownMetrics(run.metrics, metric, inPane)
  const [scale, setScale] = useState({ shown: '', max: 1 })
  const largest = at(0)?.values[metric]
  if (first && largest !== undefined && !stale && (scale.shown !== shown || scale.max !== largest)) {
    setScale({ shown, max: largest })
  }

  const contents = `${inPane ? 'pane' : 'page'} ${shown}`
  // The list follows the feature that is shown, where it has a place in it.
  const rank = useRank(run.run_id, inPane && !address.q ? address.feature : undefined, metric)
  useEffect(() => {
    if (rank !== undefined && !stale) list.current?.showRow(rank - 1)
  }, [rank, stale, contents])
  const props = {
    handle: list,
    contents,
    count: first?.total ?? 0,
    estimate: 37,
    label: counted(first?.total ?? 0, 'feature'),
    onRange: setRange,
    className: stale ? 'opacity-60' : '',
    row: (row: number) => {
      const feature = at(row)
      if (!feature) return <SkeletonFeature />
      return (
        <FeatureRowLink
          row={row}
          feature={feature}
          href={writeAddress({ ...address, feature: feature.feature })}
          current={feature.feature === address.feature}
          metrics={metrics}
          metric={metric}
          max={scale.max}
          numbered={!address.q}
          inPane={inPane}
        />
      )
    },
  }
  return (
    <>
      <div className={`grid grid-cols-1 gap-2.5 pt-5 ${inPane ? '' : 'items-center sm:grid-cols-2 sm:gap-4 lg:grid-cols-[20rem_18rem_minmax(0,1fr)]'}`}>
        <SearchBox
          value={address.q}
          label="Search features by number or word"
          placeholder="Feature number or word"
          onSearch={(q) => go({ ...address, q }, true)}
          onEnter={(text) => {
            const id = wholeNumber(text.trim())
            if (id !== undefined) go({ ...address, q: text, feature: id })
          }}
          onLeave={onLeave}
        />
        <Choice
          label="Metric"
          value={metric}
          options={run.metrics.map(({ name, label, description }) => ({ value: name, label, description }))}
          onChoose={(chosen) => go({ ...address, metric: chosen === run.metrics[0]?.name ? undefined : chosen })}
        />
        {info && !inPane && <p className="text-sm text-soft sm:col-span-2 lg:col-span-1">{info.description}</p>}
      </div>
      <p role="status" className="pt-4 pb-2.5 whitespace-nowrap">
        {first ? <Counts page={first} /> : <span className="skeleton inline-block h-4 w-32" />}
      </p>
      {first && error && error.kind !== 'down' && <Notice tone="wrong">{error.message}</Notice>}
      {!first && error && <Failure error={error} retry={retry} />}
      {!first && !error && (
        <div role="status" aria-label="Loading features" className="border-t border-line">
          {Array.from({ length: 16 }, (_, i) => (
            <SkeletonFeature key={i} />
          ))}
        </div>
      )}
      {first?.total === 0 && <Nothing address={address} page={first} />}
      {first && first.total > 0 && (
        <>
          <FeatureColumns metrics={metrics} metric={metric} inPane={inPane} onMetric={(name) => go({ ...address, metric: name })} />
          {inPane ? (
            <div ref={pane} className="-mx-1 min-h-0 grow overflow-y-auto px-1 pb-4">
              <PaneList key={contents} {...props} pane={pane} keys={false} />
            </div>
          ) : (
            <PageList key={contents} {...props} />
          )}
        </>
      )}
    </>
  )
}

function Counts({ page }: { page: FeaturesPage }) {
  if (page.total === page.n_features) return <>{counted(page.n_features, 'feature')}</>
  return (
    <>
      {count(page.total)} <span className="text-soft">of {counted(page.n_features, 'feature')}</span>
    </>
  )
}

function Nothing({ address, page }: { address: FeaturesAddress; page: FeaturesPage }) {
  const isNumber = /^\d+$/.test(address.q.trim())
  return (
    <Note title={isNumber ? `There is no feature ${address.q}.` : `No feature’s strongest word contains “${address.q}”.`}>
      <p>
        {isNumber
          ? `This run’s features are numbered 0 to ${page.n_features - 1}.`
          : 'Words are known for the features with saved examples; every feature is found by its number.'}
      </p>
      <p>
        <button type="button" className="button" onClick={() => go({ ...address, q: '' })}>
          Show all {count(page.n_features)}
        </button>
      </p>
    </Note>
  )
}
