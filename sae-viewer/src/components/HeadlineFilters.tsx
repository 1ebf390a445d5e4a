import { useState } from 'react'
import { go } from '../hooks/useAddress'
import type { HeadlinesPage } from '../interpAPI'
import { HEADLINES, ORDERS, SORTS, type HeadlinesAddress, type Order, type Sort } from '../lib/address'
import { className } from '../lib/classes'
import { count } from '../lib/format'
import { Choice } from './Choice'
import { ConfusionFilter } from './ConfusionFilter'
import { Icon } from './Icon'
import { SearchBox } from './SearchBox'

const SORT_NAMES: Record<Sort, [label: string, asc: string, desc: string]> = {
  position: ['order of the run', 'first to last', 'last to first'],
  confidence: ['confidence', 'least sure first', 'surest first'],
  margin: ['margin', 'narrowest first', 'widest first'],
  loss: ['loss', 'lowest first', 'highest first'],
}
const SORT_HELP: Record<Sort, string> = {
  position: '',
  confidence: 'Probability of the predicted class.',
  margin: 'Predicted class ahead of the next, in probability.',
  loss: '−log of the true class’s probability: high is confidently wrong.',
}
const SORT_OPTIONS = SORTS.flatMap((sort) =>
  [...ORDERS].reverse().map((order) => ({
    value: `${sort} ${order}`,
    label: `${SORT_NAMES[sort][0]}, ${SORT_NAMES[sort][order === 'asc' ? 1 : 2]}`,
    description: SORT_HELP[sort],
  })),
).sort((one, other) => Number(other.value === 'position asc') - Number(one.value === 'position asc'))

/** Search, verdict, classes and order of the headlines. Every choice is a step that Back undoes. */
export function HeadlineFilters({ address, page, labels, run, onLeave }: {
  address: HeadlinesAddress
  page: HeadlinesPage | undefined
  labels: readonly string[]
  run: string
  onLeave: () => void
}) {
  const change = (changes: Partial<HeadlinesAddress>, replace = false) =>
    go({ ...address, open: undefined, ...changes }, replace)
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
        {more ? 'Fewer filters' : 'Filter by class, sort'}
      </button>
      <div className={`space-y-5 ${more ? '' : 'hidden lg:block'}`}>
        {labels.length <= 6 && (
          <ConfusionFilter
            labels={labels}
            query={{ run, q: address.q, feature: address.feature }}
            chosen={address}
            correct={address.correct}
            onChoose={(pair) => change({ ...pair, correct: contradicts(pair, address.correct) ? undefined : address.correct })}
          />
        )}
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

/** Whether a cell of the matrix can hold no headline with this verdict. */
function contradicts(pair: Pick<HeadlinesAddress, 'label' | 'prediction'>, correct: boolean | undefined): boolean {
  if (correct === undefined || pair.label === undefined || pair.prediction === undefined) return false
  return correct !== (pair.label === pair.prediction)
}

/** The filters in force, each removable. */
export function ActiveFilters({ address, labels }: { address: HeadlinesAddress; labels: readonly string[] }) {
  const active: [string, Partial<HeadlinesAddress>][] = []
  if (address.q) active.push([`“${address.q}”`, { q: '' }])
  if (address.correct !== undefined) active.push([address.correct ? 'correct' : 'wrong', { correct: undefined }])
  if (address.label !== undefined) active.push([`label ${className(labels, address.label)}`, { label: undefined }])
  if (address.prediction !== undefined) {
    active.push([`predicted ${className(labels, address.prediction)}`, { prediction: undefined }])
  }
  if (address.feature !== undefined) active.push([`feature ${address.feature} among the strongest`, { feature: undefined }])
  if (active.length === 0) return null
  return (
    <ul aria-label="Filters in force" className="flex flex-wrap items-center gap-x-2 gap-y-1">
      {active.map(([name, without]) => (
        <li key={name} className="min-w-0">
          <button
            type="button"
            aria-label={`Remove the filter ${name}`}
            onClick={() => go({ ...address, open: undefined, ...without })}
            className="inline-flex max-w-full items-center gap-1 rounded-[5px] bg-sunk py-0.5 pr-1.5 pl-2 text-xs hover:text-wrong"
          >
            <span className="truncate">{name}</span>
            <Icon name="cross" size={12} className="text-faint" />
          </button>
        </li>
      ))}
      {active.length > 1 && (
        <li>
          <button
            type="button"
            className="quiet text-xs"
            onClick={() => go({ ...HEADLINES, run: address.run, sort: address.sort, order: address.order, grain: address.grain })}
          >
            Clear all
          </button>
        </li>
      )}
    </ul>
  )
}
