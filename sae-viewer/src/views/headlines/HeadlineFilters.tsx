import { useState } from 'react'
import { Choice } from '../../components/Choice'
import type { FilterChip } from '../../components/FilterChips'
import { Icon } from '../../components/Icon'
import { SearchBox } from '../../components/SearchBox'
import { go } from '../../hooks/useAddress'
import { useDebounced } from '../../hooks/useDebounced'
import type { HeadlinesPage } from '../../interpAPI'
import { HEADLINES, ORDERS, SORTS, wholeNumber, type HeadlinesAddress, type Order, type Sort } from '../../lib/address'
import { className } from '../../lib/classes'
import { count } from '../../lib/format'
import { ConfidenceFilter } from './ConfidenceFilter'
import { ConfusionFilter } from './ConfusionFilter'

const SORT_NAMES: Record<Sort, [label: string, asc: string, desc: string]> = {
  position: ['order of the run', 'first to last', 'last to first'],
  confidence: ['confidence', 'lowest first', 'highest first'],
  margin: ['margin', 'narrowest first', 'widest first'],
  loss: ['loss', 'lowest first', 'highest first'],
}
const SORT_HELP: Record<Sort, string> = {
  position: '',
  confidence: 'The probability of the predicted class.',
  margin: 'The probability of the predicted class minus that of the runner-up.',
  loss: '−log of the true class’s probability; high means confidently wrong.',
}
const SORT_OPTIONS = SORTS.flatMap((sort) =>
  [...ORDERS].reverse().map((order) => ({
    value: `${sort} ${order}`,
    label: `${SORT_NAMES[sort][0]}, ${SORT_NAMES[sort][order === 'asc' ? 1 : 2]}`,
    description: SORT_HELP[sort],
  })),
).sort((one, other) => Number(other.value === 'position asc') - Number(one.value === 'position asc'))

/** Search, filters and order of the list of headlines. Back undoes every choice. */
export function HeadlineFilters({ address, page, labels, run, onLeave }: {
  address: HeadlinesAddress
  page: HeadlinesPage | undefined
  labels: readonly string[]
  run: string
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
        placeholder="Search the headlines"
        onSearch={(q) => change({ q }, true)}
        onLeave={onLeave}
      />
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
      <button
        type="button"
        aria-expanded={more}
        onClick={() => setMore(!more)}
        className="quiet text-xs lg:hidden"
      >
        {more ? 'Fewer filters' : 'Filter by class, confidence or feature; sort'}
      </button>
      <div className={`space-y-5 ${more ? '' : 'hidden lg:block'}`}>
        <ConfusionFilter
          labels={labels}
          query={{
            run,
            q: address.q,
            feature: address.feature,
            min_confidence: address.minConfidence,
            max_confidence: address.maxConfidence,
          }}
          chosen={address}
          correct={address.correct}
          onChoose={(pair) => change({ ...pair, correct: contradicts(pair, address.correct) ? undefined : address.correct })}
        />
        <ConfidenceFilter address={address} onChange={(bounds) => change(bounds)} />
        <FeatureField feature={address.feature} onFeature={(feature) => change({ feature })} />
        <Choice
          label="Sort"
          value={`${address.sort} ${address.order}`}
          options={SORT_OPTIONS}
          onChoose={(value) => {
            const [sort, order] = value.split(' ') as [Sort, Order]
            change({ sort, order })
          }}
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
    <label className="field outline-offset-2 outline-plum has-focus-visible:outline-2 flex items-center gap-2 px-2.5 text-sm">
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
export function headlineChips(address: HeadlinesAddress, labels: readonly string[]): FilterChip[] {
  const chips: [string, Partial<HeadlinesAddress>][] = []
  const { q, correct, label, prediction, feature, minConfidence, maxConfidence } = address
  if (q) chips.push([`“${q}”`, { q: '' }])
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
export function unfiltered({ run, sort, order, grain, effects }: HeadlinesAddress): HeadlinesAddress {
  return { ...HEADLINES, run, sort, order, grain, effects }
}
