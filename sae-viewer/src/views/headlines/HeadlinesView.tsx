import { useCallback, useMemo, useRef, useState } from 'react'
import { SHARED } from '../../base'
import { FilterChips } from '../../components/FilterChips'
import { HeadlinesExport } from '../../components/ListExport'
import { Failure, Note, Notice } from '../../components/Notices'
import { PageList, reachable, type VirtualListHandle } from '../../components/VirtualList'
import { go } from '../../hooks/useAddress'
import { headlinesQuery, useHeadlines } from '../../hooks/useHeadlines'
import type { Range } from '../../hooks/usePages'
import { isRestored } from '../../hooks/useScrollMemory'
import type { Headline, Run, RunMetadata } from '../../interpAPI'
import { BENCH, FEATURES, HEADLINES, writeAddress, type HeadlinesAddress } from '../../lib/address'
import { benchOf } from '../../lib/bench'
import { count, counted } from '../../lib/format'
import { searchedBy } from '../../lib/meaning'
import { hardestFirst, IN_ORDER } from '../../lib/opening'
import { HeadlineFilters, headlineChips, unfiltered } from './HeadlineFilters'
import { HeadlineRow } from './HeadlineRow'
import { ShownColumns } from './ShownColumns'
import { SliceLine } from './SliceLine'

/** The estimated height of a row, in pixels. */
const ROW = 92

/** The Headlines tab: the headlines of the run, filtered and sorted as the address says. */
export function HeadlinesView({ address, run }: { address: HeadlinesAddress; run: Run }) {
  const query = headlinesQuery(address, run.run_id)
  const [range, setRange] = useState<Range>([0, 0])
  const { first, shown, stale, at, error, retry } = useHeadlines(query, range)
  const list = useRef<VirtualListHandle>(null)
  const onLeave = useCallback(() => list.current?.focusRow(0), [])
  const labels = run.labels
  const featureHref = useCallback(
    (id: number) => writeAddress({ ...FEATURES, run: address.run, feature: id }),
    [address.run],
  )
  const onOpen = useCallback(
    (row: number, open: boolean) => go({ ...address, open: open ? row : undefined, lit: undefined }, true),
    [address],
  )
  const onLit = useCallback((lit: number) => go({ ...address, lit }, true), [address])
  const headlineHref = useCallback(
    (headline: number) => writeAddress({ ...HEADLINES, run: address.run, open: headline }),
    [address.run],
  )
  const benchHref = useCallback(
    ({ text, headline }: Headline) => writeAddress({ ...BENCH, run: address.run, bench: benchOf(text), headline }),
    [address.run],
  )
  // The rows are memoised, so the list keeps its identity while it stays the same.
  const key = JSON.stringify(address.show)
  const shownColumns = useMemo(() => JSON.parse(key) as string[], [key])
  const seen = first ? reachable(first.total, ROW) : 0

  return (
    <div className="mx-auto grid max-w-[96rem] 3xl:max-w-[114rem] grid-cols-1 gap-x-10 px-4 sm:px-6 lg:grid-cols-[16.5rem_minmax(0,1fr)] 3xl:grid-cols-[19rem_minmax(0,1fr)]">
      <aside aria-label="Filters" className="pt-5 lg:sticky lg:top-14 lg:max-h-[calc(100dvh-3.5rem)] lg:self-start lg:overflow-y-auto lg:px-1 lg:pb-6 lg:-mx-1">
        <HeadlineFilters address={address} page={first} labels={labels} run={run} onLeave={onLeave} />
      </aside>
      <h1 className="sr-only">Headlines</h1>
      <section aria-label="Headlines" aria-busy={stale} className="min-w-0 pb-16">
        <div className="flex min-h-12 flex-wrap items-center justify-between gap-x-4 gap-y-1 border-b border-line pt-4 pb-2.5 lg:pt-5">
          <div className="flex min-w-0 flex-wrap items-center gap-x-3 gap-y-1">
            <p role="status" className="whitespace-nowrap empty:-mr-3">
              {first ? <Counts total={first.total} all={first.n_headlines} /> : !error && <span className="skeleton inline-block h-4 w-40" />}
            </p>
            <FilterChips chips={headlineChips(address, run)} onClear={() => go(unfiltered(address))} />
          </div>
          <div className="flex flex-wrap items-center gap-x-5 gap-y-1 text-xs">
          {run.has_causes && <OrderChoice address={address} run={run} />}
          {first?.headlines.some(({ effects }) => effects) && (
            <label className="flex items-center gap-1.5 text-soft">
              <input
                type="checkbox"
                checked={address.effects}
                onChange={(event) => go({ ...address, effects: event.target.checked }, true)}
              />
              Show effect on prediction
            </label>
          )}
          <label className="flex items-center gap-1.5 text-soft">
            <input
              type="checkbox"
              checked={address.grain === 'pieces'}
              onChange={(event) => go({ ...address, grain: event.target.checked ? 'pieces' : 'words' }, true)}
            />
            Show tokens as the model reads them
          </label>
          {run.columns.length > 0 && (
            <ShownColumns columns={run.columns} shown={address.show} onShown={(show) => go({ ...address, show }, true)} />
          )}
          {!!first?.total && <HeadlinesExport query={query} run={run} />}
          </div>
        </div>
        {!run.has_causes && <NoCauses run={run} />}
        {first && <SliceLine address={address} run={run} page={first} />}
        {first && error && error.kind !== 'down' && <Notice tone="wrong">{error.message} What is loaded stays on this page.</Notice>}
        {!first && error && <Failure error={error} retry={retry} clear={address.where.length > 0 ? () => go(unfiltered(address)) : undefined} />}
        {!first && !error && <Waiting />}
        {first && first.total > 0 && address.open !== undefined && address.open >= first.total && (
          <Notice>This list has no row {count(address.open + 1)}; its last row is {count(first.total)}.</Notice>
        )}
        {first?.total === 0 && <Nothing address={address} run={run} />}
        {first && first.total > 0 && (
          <PageList
            key={shown}
            handle={list}
            contents={shown}
            count={first.total}
            estimate={ROW}
            label={counted(first.total, 'headline')}
            onRange={setRange}
            reveal={isRestored(writeAddress(address)) ? undefined : address.open}
            className={stale ? 'opacity-60' : ''}
            row={(row) => {
              const headline = at(row)
              if (!headline) return <SkeletonRow />
              return (
                <HeadlineRow
                  headline={headline}
                  labels={labels}
                  grain={address.grain}
                  open={address.open === row}
                  lit={address.open === row ? address.lit : undefined}
                  effects={address.effects}
                  shown={shownColumns}
                  row={row}
                  run={run.run_id}
                  onOpen={onOpen}
                  onLit={onLit}
                  featureHref={featureHref}
                  headlineHref={headlineHref}
                  benchHref={benchHref}
                />
              )
            }}
          />
        )}
        {first && seen < first.total && (
          <Notice>
            The first {count(seen)} of {count(first.total)} headlines are listed. A search or a filter finds the others.
          </Notice>
        )}
      </section>
    </div>
  )
}

/** The order of the opening view, and at one click all headlines in the order of the run. */
function OrderChoice({ address, run }: { address: HeadlinesAddress; run: Run }) {
  const hardest = hardestFirst(run)
  const { sort = IN_ORDER.sort, order } = address
  const orders = [
    [run.labelled ? 'Wrong and unsure first' : 'Unsure first', hardest],
    [searchedBy(address.q, address.by) === undefined ? 'Order of the run' : 'Nearest first', IN_ORDER],
  ] as const
  return (
    <span role="group" aria-label="Order of the headlines" className="inline-flex rounded-md border border-edge bg-raised">
      {orders.map(([name, one]) => (
        <button
          key={name}
          type="button"
          aria-pressed={sort === one.sort && order === one.order}
          onClick={() => go({ ...address, open: undefined, lit: undefined, ...one })}
          className="segment px-2.5"
        >
          {name}
        </button>
      ))}
    </span>
  )
}

function NoCauses({ run }: { run: Run }) {
  return (
    <p className="border-b border-line py-2 text-xs text-soft">
      {SHARED === undefined ? (
        <>
          Why the classifier predicts what it does has not been measured in this run. The verb <code className="font-mono">intervene</code> finds the causes:{' '}
          <code className="rounded bg-sunk px-1.5 py-0.5 font-mono wrap-anywhere">python -m sae_pipeline intervene --run {run.run_id}</code>
        </>
      ) : (
        'This run was shared without the causes of its predictions.'
      )}
    </p>
  )
}

function Counts({ total, all }: { total: number; all: number }) {
  if (total === all) return <>{counted(all, 'headline')}</>
  return (
    <>
      {count(total)} <span className="text-soft">of {counted(all, 'headline')}</span>
    </>
  )
}

function Nothing({ address, run }: { address: HeadlinesAddress; run: RunMetadata }) {
  if (run.totals.n_headlines === 0) return <Note title={`${run.run_id} holds no headlines.`} />
  return (
    <Note title="No headline matches all of these filters.">
      <p>
        <button type="button" className="button" onClick={() => go(unfiltered(address))}>
          Show all {count(run.totals.n_headlines)}
        </button>
      </p>
    </Note>
  )
}

function Waiting() {
  return (
    <div role="status" aria-label="Loading headlines">
      {Array.from({ length: 8 }, (_, i) => (
        <SkeletonRow key={i} />
      ))}
    </div>
  )
}

function SkeletonRow() {
  return (
    <div aria-hidden="true" className="grid h-[5.75rem] grid-cols-1 gap-x-6 border-b border-line py-4 md:grid-cols-[5rem_minmax(0,1fr)_12.5rem]">
      <span className="skeleton hidden h-4 w-16 md:block" />
      <span>
        <span className="skeleton block h-4 w-4/5" />
        <span className="skeleton mt-4 block h-5 w-2/5" />
      </span>
      <span className="skeleton hidden h-4 md:block" />
    </div>
  )
}
