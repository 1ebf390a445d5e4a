import { useState } from 'react'
import { Choice } from '../../components/Choice'
import { ClassChoice } from '../../components/ClassChoice'
import type { FilterChip } from '../../components/FilterChips'
import { Icon } from '../../components/Icon'
import { MeaningSwitch } from '../../components/MeaningSwitch'
import { ClassMark } from '../../components/Outcome'
import { SearchBox } from '../../components/SearchBox'
import { SearchChoice } from '../../components/SearchChoice'
import { go } from '../../hooks/useAddress'
import { useLabels } from '../../hooks/useLabels'
import { unitOf } from '../../hooks/useUnit'
import type { MetricInfo, Run, RunMetadata } from '../../interpAPI'
import { FEATURES, SUPPORTS, wholeNumber, type FeaturesAddress, type Support } from '../../lib/address'
import { className, isMany } from '../../lib/classes'
import { describeCondition } from '../../lib/columns'
import { counted, rarity } from '../../lib/format'
import { searchChip } from '../../lib/meaning'
import { classMetrics } from '../../lib/metrics'
import { FOUND, seedChoices, type Stability } from '../../lib/stability'
import { visible } from '../../lib/text'
import { DensityFilter } from './DensityFilter'
import { randomFeature } from './useFeatures'

const SUPPORT_NAMES: Record<Support, [label: string, description: string]> = {
  all: ['any', 'All features, including those that never fire.'],
  live: ['live', 'Features that fire in at least one headline of this run.'],
  solid: ['solid', 'Features that fire in enough headlines for reliable statistics.'],
  thin: ['thin', 'Features that fire, but in too few headlines for reliable statistics.'],
  dead: ['dead', 'Features that never fire in this run.'],
}

/** Search, metric and filters of the list of features. Beside a feature's page the filters are folded. */
export function FeatureFilters({ address, run, metrics, inPane, onLeave }: {
  address: FeaturesAddress
  run: Run
  metrics: MetricInfo[]
  inPane: boolean
  onLeave: () => void
}) {
  const [more, setMore] = useState(false)
  const { sets } = useLabels(run)
  const named = Object.keys(sets)
  const change = (changes: Partial<FeaturesAddress>, replace = false) => go({ ...address, ...changes }, replace)
  const metric = metrics.find(({ name }) => name === (address.metric ?? metrics[0]?.name))
  return (
    <div className={inPane ? 'space-y-2.5' : 'space-y-3 lg:space-y-5'}>
      <div className="space-y-2.5">
        <SearchBox
          value={address.q}
          label="Search features by number, name or strongest word"
          placeholder={address.by === 'meaning' ? 'A phrase, such as “merger talk”' : 'Number, name or word'}
          onSearch={(q) => change({ q }, true)}
          onEnter={(text) => {
            const id = wholeNumber(text.trim())
            if (id !== undefined) go({ ...address, q: '', feature: id })
          }}
          onLeave={onLeave}
        />
        <MeaningSwitch by={address.by} onBy={(by) => change({ by, metric: undefined, order: 'desc' })} />
        {unitOf(run) === 'token' && (
          <SearchBox
            value={address.token}
            label="Only features that fire on a word"
            placeholder="Fires on the word …"
            icon="word"
            shortcut={false}
            onSearch={(token) => change({ token }, true)}
            onLeave={onLeave}
          />
        )}
      </div>
      <div className="space-y-1.5">
        <MetricChoice
          metrics={metrics}
          labels={run.labels}
          value={metric?.name ?? address.metric ?? ''}
          onChoose={(chosen) => change({ metric: chosen === metrics[0]?.name ? undefined : chosen, order: 'desc' })}
        />
        {metric && !inPane && <p className="text-xs text-soft">{metric.description}</p>}
      </div>
      <div className={`flex flex-wrap gap-x-5 gap-y-1 ${inPane ? '' : 'lg:hidden'}`}>
        <button type="button" aria-expanded={more} onClick={() => setMore(!more)} className="quiet text-xs">
          {more ? 'Fewer filters' : 'More filters'}
        </button>
      </div>
      <div className={`${inPane ? 'space-y-3 pb-2' : 'space-y-5'} ${more ? '' : inPane ? 'hidden' : 'hidden lg:block'}`}>
        <DensityFilter address={address} run={run.run_id} onChange={change} />
        <Choice
          label="Support"
          value={address.support}
          options={SUPPORTS.map((value) => ({ value, label: SUPPORT_NAMES[value][0], description: SUPPORT_NAMES[value][1] }))}
          onChoose={(chosen) => change({ support: chosen as Support })}
        />
        {run.stability && <SeedFilter address={address} stability={run.stability} onChange={change} />}
        {run.metrics.some(({ name }) => name.startsWith('auroc_')) && <ClassFilter address={address} labels={run.labels} onChange={change} />}
        {named.length > 0 && (
          <Choice
            label="Set"
            value={address.set}
            options={[{ value: '', label: 'any' }, ...named.map((name) => ({ value: name, label: visible(name), description: counted(sets[name]?.features.length ?? 0, 'feature') }))]}
            onChoose={(set) => change({ set })}
          />
        )}
        <label className="flex items-center gap-2 text-xs text-soft">
          <input type="checkbox" checked={address.labelled} onChange={(event) => change({ labelled: event.target.checked })} />
          Only features that people named
        </label>
      </div>
      {!inPane && <RandomButton address={address} run={run.run_id} />}
    </div>
  )
}

/** A dropdown of the metrics. Where there are many classes, their metrics stand in groups behind the others, with a search. */
function MetricChoice({ metrics, labels, value, onChoose }: {
  metrics: MetricInfo[]
  labels: readonly string[]
  value: string
  onChoose: (metric: string) => void
}) {
  const options = metrics.map(({ name, label, description }) => ({ value: name, label, description }))
  if (!isMany(labels)) return <Choice label="Metric" value={value} options={options} onChoose={onChoose} />
  const ofClass = classMetrics(metrics, labels)
  const grouped = options.map((option) => {
    const found = ofClass.get(option.value)
    return found ? { value: option.value, label: className(labels, found.label), group: found.group } : option
  })
  return <SearchChoice label="Metric" value={value} options={grouped.sort((one, other) => Number('group' in one) - Number('group' in other))} onChoose={onChoose} />
}

/** The most classes that have a button each. */
const MOST_BUTTONS = 4

/** A filter by the class that a feature's activation indicates best: buttons, or a dropdown where there are more classes. */
function ClassFilter({ address, labels, onChange }: {
  address: FeaturesAddress
  labels: readonly string[]
  onChange: (changes: Partial<FeaturesAddress>) => void
}) {
  if (labels.length > MOST_BUTTONS) {
    return <ClassChoice name="Indicates" labels={labels} chosen={address.leaning} onChoose={(leaning) => onChange({ leaning })} />
  }
  return (
    <div role="group" aria-label="Filter by the class that a feature indicates">
      <p className="mb-1 text-xs text-soft" title="The class with the highest AUROC: the feature’s activation separates it best from the other classes">
        Indicates class
      </p>
      <div className="grid auto-cols-fr grid-flow-col rounded-md border border-edge bg-raised text-xs">
        {[undefined, ...labels.keys()].map((index) => (
          <button
            key={index ?? 'any'}
            type="button"
            aria-pressed={address.leaning === index}
            aria-label={index === undefined ? 'Any class' : `Indicates ${className(labels, index)}`}
            onClick={() => onChange({ leaning: index })}
            className="segment min-w-0"
          >
            <span className="flex h-4 items-center">{index === undefined ? '' : <ClassMark labels={labels} index={index} />}</span>
            <span className="max-w-full truncate">{index === undefined ? 'any' : className(labels, index)}</span>
          </button>
        ))}
      </div>
    </div>
  )
}

/** A filter by the number of trainings with other seeds in which a feature is found. */
function SeedFilter({ address, stability, onChange }: {
  address: FeaturesAddress
  stability: Stability
  onChange: (changes: Partial<FeaturesAddress>) => void
}) {
  const options = seedChoices(stability).map(({ least, label, n }) => ({ value: String(least), label, description: `${counted(n, 'feature')} that ${n === 1 ? 'fires' : 'fire'}.` }))
  return (
    <div className="space-y-1.5">
      <Choice
        label="Other seeds"
        value={address.minSeeds ? String(address.minSeeds) : 'any'}
        options={[{ value: 'any', label: 'any', description: `All features, also those that are not found in the seeds ${stability.seeds.join(', ')}.` }, ...options]}
        onChoose={(chosen) => onChange({ minSeeds: chosen === 'any' ? undefined : Number(chosen) })}
      />
      <p className="text-xs text-faint">{FOUND}</p>
    </div>
  )
}

/** Shows a random feature of the list as it is filtered. */
function RandomButton({ address, run }: { address: FeaturesAddress; run: string }) {
  const [none, setNone] = useState(false)
  const show = async () => {
    const found = await randomFeature(address, run).catch(() => undefined)
    setNone(found === undefined)
    if (found !== undefined) go({ ...address, feature: found })
  }
  return (
    <p>
      <button type="button" className="button w-full text-sm" onClick={() => void show()}>
        <Icon name="dice" size={14} /> {none ? 'No feature to show' : 'Random feature'}
      </button>
    </p>
  )
}

/** The filters of an address, each removable. */
export function featureChips(address: FeaturesAddress, { labels, columns }: RunMetadata): FilterChip[] {
  const chips: [string, Partial<FeaturesAddress>][] = []
  if (address.q) chips.push([searchChip(address), { q: '' }])
  for (const condition of address.where) {
    chips.push([`slice ${describeCondition(condition, columns)}`, withoutCondition(address, condition)])
  }
  if (address.token) chips.push([`fires on “${address.token}”`, { token: '' }])
  if (address.support !== 'all') chips.push([`support ${SUPPORT_NAMES[address.support][0]}`, { support: 'all' }])
  const { minDensity, maxDensity } = address
  if (minDensity !== undefined || maxDensity !== undefined) {
    const range =
      minDensity === undefined
        ? `density up to ${rarity(maxDensity ?? 1)}`
        : maxDensity === undefined
          ? `density from ${rarity(minDensity)}`
          : `density ${rarity(minDensity)} to ${rarity(maxDensity)}`
    chips.push([range, { minDensity: undefined, maxDensity: undefined }])
  }
  if (address.leaning !== undefined) chips.push([`indicates ${className(labels, address.leaning)}`, { leaning: undefined }])
  if (address.minSeeds) chips.push([`found in ${counted(address.minSeeds, 'other seed')} or more`, { minSeeds: undefined }])
  if (address.set) chips.push([`set “${address.set}”`, { set: '' }])
  if (address.labelled) chips.push(['named by people', { labelled: false }])
  return chips.map(([name, without]) => ({ name, remove: () => go({ ...address, ...without }) }))
}

/** Without its last condition there is no slice, and so no metric of it. */
function withoutCondition({ where, metric }: FeaturesAddress, condition: string): Partial<FeaturesAddress> {
  const left = where.filter((one) => one !== condition)
  return { where: left, metric: left.length === 0 && metric?.startsWith('slice_') ? undefined : metric }
}

/** The same view without its filters. */
export function unfiltered(address: FeaturesAddress): FeaturesAddress {
  const { run, feature, metric, order, grain, context } = address
  return { ...FEATURES, run, feature, metric: metric?.startsWith('slice_') ? undefined : metric, order, grain, context }
}
