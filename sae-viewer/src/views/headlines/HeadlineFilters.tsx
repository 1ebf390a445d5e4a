import { useState } from 'react'
import type { FilterChip } from '../../components/FilterChips'
import { Icon } from '../../components/Icon'
import { MeaningSwitch } from '../../components/MeaningSwitch'
import { SearchBox } from '../../components/SearchBox'
import { go } from '../../hooks/useAddress'
import { useDebounced } from '../../hooks/useDebounced'
import type { HeadlinesPage, RunMetadata } from '../../interpAPI'
import { HEADLINES, wholeNumber, type HeadlinesAddress } from '../../lib/address'
import { className, NO_LABELS } from '../../lib/classes'
import { describeCondition } from '../../lib/columns'
import { count } from '../../lib/format'
import { searchChip, searchedBy } from '../../lib/meaning'
import { IN_ORDER } from '../../lib/opening'
import { ColumnFilter } from './ColumnFilter'
import { ConfidenceFilter } from './ConfidenceFilter'
import { ConfusionFilter, PredictionFilter } from './ConfusionFilter'
import { SortChoice } from './SortChoice'
import { confusionQuery } from './useConfusion'

/** Search, filters and order of the list of headlines. Back undoes every choice. */
export function HeadlineFilters({ address, page, labels, run, onLeave }: {
  address: HeadlinesAddress
  page: HeadlinesPage | undefined
  labels: readonly string[]
  run: RunMetadata
  onLeave: () => void
}) {
  const change = (changes: Partial<HeadlinesAddress>, replace = false) =>
    go({ ...address, open: undefined, lit: undefined, ...changes }, replace)
  const { n_headlines: all, n_correct: correct } = page ?? {}
  const verdicts: [string, boolean | undefined, number | undefined][] = [
    ['All', undefined, all],
    ['Correct', true, correct],
    ['Wrong', false, all !== undefined && correct !== undefined ? all - correct : undefined],
  ]
  const [more, setMore] = useState(false)
  return (
    <div className="space-y-3 lg:space-y-5">
      <SearchBox
        value={address.q}
        label="Search the headlines"
        placeholder={address.by === 'meaning' ? 'A phrase, such as “merger talk”' : 'Search the headlines'}
        onSearch={(q) => change({ q }, true)}
        onLeave={onLeave}
      />
      <MeaningSwitch by={address.by} onBy={(by) => change({ by })} />
      {!run.labelled && <p className="text-xs text-soft">{NO_LABELS}</p>}
      {run.labelled && (
        <div role="group" aria-label="Filter by verdict" className="grid grid-cols-3 rounded-md border border-edge bg-raised">
          {verdicts.map(([name, value, n]) => (
            <button
              key={name}
              type="button"
              aria-pressed={address.correct === value}
              onClick={() => change({ correct: value })}
              className="segment"
            >
              <span className="flex items-center gap-1">
                {value !== undefined && (
                  <Icon name={value ? 'check' : 'cross'} size={12} className={value ? 'text-correct' : 'text-wrong'} />
                )}
                {name}
              </span>
              <span className="text-xs text-soft tabular-nums">{n === undefined ? '–' : count(n)}</span>
            </button>
          ))}
        </div>
      )}
      <button
        type="button"
        aria-expanded={more}
        onClick={() => setMore(!more)}
        className="quiet text-xs lg:hidden"
      >
        {more ? 'Fewer filters' : `Filter by class, ${run.columns.length > 0 ? 'column, ' : ''}confidence or feature; sort`}
      </button>
      <div className={`space-y-5 ${more ? '' : 'hidden lg:block'}`}>
        {run.labelled ? (
          <ConfusionFilter
            labels={labels}
            query={confusionQuery(address, run.run_id)}
            chosen={address}
            correct={address.correct}
            onChoose={(pair) => change({ ...pair, correct: contradicts(pair, address.correct) ? undefined : address.correct })}
          />
        ) : (
          <PredictionFilter labels={labels} chosen={address.prediction} onChoose={(prediction) => change({ prediction })} />
        )}
        {run.columns.length > 0 && <ColumnFilter key={run.run_id} run={run} where={address.where} onWhere={(where) => change({ where })} />}
        <ConfidenceFilter address={address} onChange={(bounds) => change(bounds)} />
        <FeatureField feature={address.feature} onFeature={(feature) => change({ feature })} />
        <SortChoice
          sort={address.sort ?? IN_ORDER.sort}
          order={address.order}
          columns={run.columns}
          labelled={run.labelled}
          byMeaning={searchedBy(address.q, address.by) !== undefined}
          onSort={(sort, order) => change({ sort, order })}
        />
      </div>
    </div>
  )
}

/** Whether no headline of a cell of the matrix can have this verdict. */
function contradicts(pair: Pick<HeadlinesAddress, 'label' | 'prediction'>, correct: boolean | undefined): boolean {
  if (correct === undefined || pair.label === undefined || pair.prediction === undefined) return false
  return correct !== (pair.label === pair.prediction)
}

/** A filter for headlines that have a feature, given by its number, among their strongest. */
function FeatureField({ feature, onFeature }: { feature: number | undefined; onFeature: (feature: number | undefined) => void }) {
  const { draft, type } = useDebounced(feature === undefined ? '' : String(feature), (text) => onFeature(wholeNumber(text)))
  return (
    <label
      title="Lists the headlines that have this feature among their strongest"
      className="field outline-offset-2 outline-plum has-focus-visible:outline-2 flex items-center gap-2 px-2.5 text-sm"
    >
      <span className="shrink-0 text-faint">Has feature</span>
      <input
        type="text"
        inputMode="numeric"
        placeholder="number"
        maxLength={9}
        autoComplete="off"
        value={draft}
        onChange={(event) => type(event.target.value.replace(/\D/g, ''))}
        className="h-full w-full min-w-0 bg-transparent outline-none!"
      />
    </label>
  )
}

/** The filters of an address, each with a way to remove it. */
export function headlineChips(address: HeadlinesAddress, { labels, columns }: RunMetadata): FilterChip[] {
  const chips: [string, Partial<HeadlinesAddress>][] = []
  const { q, correct, label, prediction, feature, minConfidence, maxConfidence } = address
  if (q) chips.push([searchChip(address), { q: '' }])
  for (const condition of address.where) {
    chips.push([describeCondition(condition, columns), { where: address.where.filter((one) => one !== condition) }])
  }
  if (correct !== undefined) chips.push([correct ? 'correct' : 'wrong', { correct: undefined }])
  if (label !== undefined) chips.push([`label ${className(labels, label)}`, { label: undefined }])
  if (prediction !== undefined) chips.push([`predicted ${className(labels, prediction)}`, { prediction: undefined }])
  if (minConfidence !== undefined || maxConfidence !== undefined) {
    const [low, high] = [minConfidence ?? 0, maxConfidence ?? 1].map((share) => Math.round(100 * share))
    chips.push([`confidence ${low} to ${high} %`, { minConfidence: undefined, maxConfidence: undefined }])
  }
  if (feature !== undefined) chips.push([`feature ${feature} among the strongest`, { feature: undefined }])
  return chips.map(([name, without]) => ({ name, remove: () => go({ ...address, open: undefined, ...without }) }))
}

/** The address without its filters. */
export function unfiltered({ run, sort, order, grain, effects, show }: HeadlinesAddress): HeadlinesAddress {
  return { ...HEADLINES, run, sort, order, grain, effects, show }
}
