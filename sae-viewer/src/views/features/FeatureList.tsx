import { useCallback, useEffect, useRef, useState, type ReactNode } from 'react'
import { FilterChips } from '../../components/FilterChips'
import { FeaturesExport } from '../../components/ListExport'
import { Failure, Note, Notice } from '../../components/Notices'
import { SaveAsSet } from '../../components/SaveAsSet'
import { PageList, PaneList, type VirtualListHandle } from '../../components/VirtualList'
import { go } from '../../hooks/useAddress'
import type { Range } from '../../hooks/usePages'
import type { FeaturesPage, MetricInfo, Run } from '../../interpAPI'
import { writeAddress, type FeaturesAddress } from '../../lib/address'
import { count, counted } from '../../lib/format'
import { searchedBy } from '../../lib/meaning'
import { MOST_FEATURES } from '../../lib/sets'
import { visible } from '../../lib/text'
import { featureChips, FeatureFilters, unfiltered } from './FeatureFilters'
import { FeatureColumns, FeatureRowLink, SkeletonFeature, shownMetrics } from './FeatureRow'
import { featuresQuery, firstFeatures, useAround, useFeatures } from './useFeatures'

/** The list of features that an address describes. `frame` lays out its filters and its rows. */
export function FeatureList({ address, run, inPane = false, frame }: {
  address: FeaturesAddress
  run: Run
  inPane?: boolean
  frame: (filters: ReactNode, list: ReactNode) => ReactNode
}) {
  const query = featuresQuery(address, run.run_id)
  const usual = query.by === 'meaning' ? 'similarity' : (run.metrics[0]?.name ?? '')
  const metric = address.metric ?? usual
  const [range, setRange] = useState<Range>([0, 0])
  const { first, shown, stale, at, error, retry } = useFeatures(query, range)
  const list = useRef<VirtualListHandle>(null)
  const pane = useRef<HTMLDivElement>(null)
  const onLeave = useCallback(() => list.current?.focusRow(0), [])
  // The answer also names metrics that were added to the run later, such as causal effects.
  const allMetrics = (first?.metrics ?? run.metrics).map(plain)
  // Only a slice of a run with causal findings has effects, and the pane has no room for them.
  const effects = !inPane && first?.features[0]?.n_slice_effects != null
  const metrics = shownMetrics(allMetrics, metric, inPane, run.labels, effects)
  // Bars are relative to the largest value, which the first page does not hold in ascending order.
  const max = address.order === 'asc' ? 0 : Math.max(0, ...(first?.features ?? []).map(({ values }) => values[metric] ?? 0))

  const contents = `${inPane ? 'pane' : 'page'} ${shown}`
  // Beside a feature's page the list scrolls to that feature, if it holds it.
  const { rank } = useAround(query, inPane ? address.feature : undefined)
  useEffect(() => {
    if (typeof rank === 'number' && !stale) list.current?.showRow(rank)
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
          labels={run.labels}
          metrics={metrics}
          metric={metric}
          max={max}
          effects={effects}
          stability={run.stability}
          inPane={inPane}
        />
      )
    },
  }
  return frame(
    <FeatureFilters address={address} run={run} metrics={allMetrics} inPane={inPane} onLeave={onLeave} />,
    <>
      <div className={`flex min-h-12 shrink-0 flex-wrap items-center gap-x-3 gap-y-1 pb-2.5 ${inPane ? 'pt-3' : 'pt-4 lg:pt-5'}`}>
        <p role="status" className="whitespace-nowrap empty:-mr-3">
          {first ? <Counts page={first} /> : !error && <span className="skeleton inline-block h-4 w-32" />}
        </p>
        <FilterChips chips={featureChips(address, run)} onClear={() => go(unfiltered(address))} />
        {!inPane && !!first?.total && (
          <span className="ml-auto flex flex-wrap items-center justify-end gap-x-5 gap-y-1">
            <SaveAsSet key={writeAddress(address)} run={run} total={first.total} features={() => firstFeatures(query, MOST_FEATURES)} />
            <FeaturesExport query={query} run={run} />
          </span>
        )}
      </div>
      {first && error && error.kind !== 'down' && <Notice tone="wrong">{error.message}</Notice>}
      {!first && error && <Failure error={error} retry={retry} clear={address.where.length > 0 || address.set ? () => go(unfiltered(address)) : undefined} />}
      {!first && !error && <Waiting />}
      {first?.total === 0 && <Nothing address={address} page={first} />}
      {first && first.total > 0 && (
        <>
          <SliceNote page={first} effects={effects} />
          {query.by === 'meaning' && <MeaningNote />}
          <OrderNote address={address} page={first} metric={allMetrics.find(({ name }) => name === metric)?.label ?? metric} />
          <FeatureColumns
            labels={run.labels}
            metrics={metrics}
            metric={metric}
            order={address.order}
            effects={effects}
            inPane={inPane}
            onSort={(name, order) => go({ ...address, metric: name === usual ? undefined : name, order })}
          />
          {inPane ? (
            <div ref={pane} className="-mx-1 min-h-0 grow overflow-y-auto px-1 pb-4">
              <PaneList key={contents} {...props} pane={pane} keys={false} />
            </div>
          ) : (
            <PageList key={contents} {...props} />
          )}
        </>
      )}
    </>,
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

/** Says what the rates and effects of features in a slice rest on. */
function SliceNote({ page: { n_slice }, effects }: { page: FeaturesPage; effects: boolean }) {
  if (n_slice === null) return null
  return (
    <p className="shrink-0 pb-2 text-xs text-soft">
      Rates compare the slice of {counted(n_slice, 'headline')} with all other headlines. They count headlines that have a feature among their
      strongest; weaker activations are not saved by headline.
      {effects && (
        <span className="max-xl:hidden">
          {' '}
          A slice effect is a mean over the n headlines of the slice that list the feature among their causes. It rests on the listed features of
          each headline only; the run-wide effects rest on all headlines.
        </span>
      )}
    </p>
  )
}

/** Says what a search by meaning rests on. */
function MeaningNote() {
  return (
    <p className="shrink-0 pb-2 text-xs text-soft">
      Similarity compares the text with the mean of the headlines in which a feature is strongest, as vectors of a sentence encoder. The line below a
      feature is the nearest of its examples. Features without saved examples are not found.
    </p>
  )
}

/** Says that exact matches precede the order of the metric, where there are both. */
function OrderNote({ address: { token }, page, metric }: { address: FeaturesAddress; page: FeaturesPage; metric: string }) {
  if (page.n_exact === 0 || page.n_exact === page.total) return null
  const exact = counted(page.n_exact, 'feature')
  return (
    <p className="shrink-0 pb-2 text-xs text-soft">
      {token
        ? `The first ${exact} ${page.n_exact === 1 ? 'fires' : 'fire'} on “${token}” itself, the others only on longer words. Each group is sorted by ${metric}.`
        : `The first ${exact} ${page.n_exact === 1 ? 'matches' : 'match'} exactly. The others are sorted by ${metric}.`}
    </p>
  )
}

function Waiting() {
  return (
    <div role="status" aria-label="Loading features" className="border-t border-line">
      {Array.from({ length: 16 }, (_, i) => (
        <SkeletonFeature key={i} />
      ))}
    </div>
  )
}

function Nothing({ address, page }: { address: FeaturesAddress; page: FeaturesPage }) {
  return (
    <Note title={whyNothing(address, page)}>
      <p>
        <button type="button" className="button" onClick={() => go(unfiltered(address))}>
          Show all {count(page.n_features)}
        </button>
      </p>
    </Note>
  )
}

/** Why an address finds no feature. A single filter is named, several are not told apart. */
function whyNothing(address: FeaturesAddress, page: FeaturesPage): string {
  const only = (filter: Partial<FeaturesAddress>) =>
    writeAddress({ ...unfiltered(address), ...filter }) === writeAddress(address)
  const { q, by, token, labelled } = address
  if (only({ q, by }) && /^\d+$/.test(q.trim())) {
    return `There is no feature ${q}: this run’s features are numbered 0 to ${page.n_features - 1}.`
  }
  if (searchedBy(q, by)) return `None of the features under these filters is near “${q}” in meaning.`
  if (only({ q, by })) return `No feature’s name or strongest word contains “${q}”.`
  if (only({ token })) return `No feature fires on a word that begins with “${token}”.`
  if (only({ labelled })) return 'No feature of this SAE has been named yet.'
  return 'No feature matches all of these filters.'
}

/** A metric as it is shown: without invisible characters. */
function plain({ name, label, description }: MetricInfo): MetricInfo {
  return { name, label: visible(label), description: visible(description) }
}
