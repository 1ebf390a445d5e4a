import { Link } from 'wouter'
import { FeatureCalled } from '../../components/FeatureName'
import { Icon } from '../../components/Icon'
import { ClassMark } from '../../components/Outcome'
import { SeedBadge } from '../../components/SeedBadge'
import { useUnit } from '../../hooks/useUnit'
import type { FeatureRow, MetricInfo, NearestExample } from '../../interpAPI'
import type { Order } from '../../lib/address'
import { className, isMany } from '../../lib/classes'
import { signed, strongestEffect } from '../../lib/effects'
import { count, counted, metricUnit, metricValue, rarity } from '../../lib/format'
import { classMetrics } from '../../lib/metrics'
import { FOUND_IN_SEEDS, type Stability } from '../../lib/stability'
import { visible } from '../../lib/text'
import { SparkHistogram } from './SparkHistogram'

/** The number of columns for metrics and the effects in a slice on wide and on very wide screens. */
const WIDE = 3
const WIDEST = 7

/** The metrics that have a column: the sorting one first, and in the pane only that one. Of many classes none has one. */
export function shownMetrics(metrics: MetricInfo[], sorting: string, inPane: boolean, labels: readonly string[], effects: boolean): MetricInfo[] {
  const chosen = metrics.filter(({ name }) => name === sorting)
  if (inPane) return chosen
  const ofClass = isMany(labels) ? classMetrics(metrics, labels) : new Map()
  const others = metrics.filter(({ name }) => name !== sorting && name !== 'fraction_active' && !ofClass.has(name))
  // The other rate of a slice stands beside the first.
  others.sort((one, other) => Number(other.name.startsWith('slice_')) - Number(one.name.startsWith('slice_')))
  return [...chosen, ...others].slice(0, WIDEST - Number(effects))
}

/** The columns of a row: narrow screens show the sorting metric alone, wide ones all columns. */
const GRID =
  'grid items-center gap-x-4 grid-cols-[3.75rem_minmax(0,1fr)_7.25rem] sm:grid-cols-[2.75rem_4.5rem_minmax(0,1fr)_4rem_8rem] xl:grid-cols-[3.25rem_4.75rem_minmax(var(--word),1fr)_4rem_4.75rem_4.75rem_repeat(var(--wide),minmax(4.75rem,6.75rem))] 3xl:grid-cols-[3.25rem_4.75rem_minmax(13rem,1fr)_4rem_4.75rem_4.75rem_repeat(var(--widest),minmax(5.5rem,7.5rem))]'
const PANE_GRID = 'grid items-center gap-x-3 grid-cols-[2.25rem_4rem_minmax(0,1fr)_6.75rem]'
const grid = (inPane: boolean) => (inPane ? PANE_GRID : GRID)
const columns = (metrics: MetricInfo[], effects: boolean, labels: readonly string[]) => {
  const n = metrics.length + Number(effects)
  // Of many classes, the name of the one that it indicates stands beside the feature’s name.
  const word = isMany(labels) ? 'clamp(7rem, 30vw - 17rem, 10rem)' : '9rem'
  return { '--wide': Math.min(WIDE, n), '--widest': n, '--word': word } as React.CSSProperties
}
/** The breakpoint from which a metric that does not sort is shown; the effects in a slice stand before the metrics. */
const shownFrom = (column: number, effects: boolean) => (column + Number(effects) < WIDE ? 'xl' : '3xl')

/** The headings. A metric's heading sorts by it; the sorting one reverses the order and shows an arrow. */
export function FeatureColumns({ labels, metrics, metric, order, effects, inPane, onSort }: {
  labels: readonly string[]
  metrics: MetricInfo[]
  metric: string
  order: Order
  /** Whether the effects in a slice have a column, which only the page has. */
  effects: boolean
  inPane: boolean
  onSort: (metric: string, order: Order) => void
}) {
  const other = order === 'desc' ? 'asc' : 'desc'
  const unit = useUnit()
  return (
    <div className={`${grid(inPane)} shrink-0 border-b border-line pb-1.5 text-xs text-soft`} style={columns(metrics, effects, labels)}>
      <span className={`text-right ${inPane ? '' : 'max-sm:hidden'}`}>rank</span>
      <span className="text-right">feature</span>
      <span className="truncate" title="The name that a person gave it, else the name that the analysis found, else its strongest word in quotation marks">
        name
      </span>
      {!inPane && (
        <>
          <span className="hidden sm:block" title="Histogram of activations from weak (left) to strong (right), both axes logarithmic">
            activations
          </span>
          <span className="hidden text-right xl:block" title="Headlines in which it fires">
            headlines
          </span>
          <span className="hidden text-right xl:block" title={`Share of counted ${unit}s on which it fires`}>
            density
          </span>
        </>
      )}
      {effects && (
        <span
          className="hidden truncate text-right xl:block"
          title="Mean effect on the logit of the class that it moves most, and the slice’s headlines that list it among their causes"
        >
          Slice effect
        </span>
      )}
      {metrics.map(({ name, label, description }, column) => {
        const sorting = name === metric
        const unit = metricUnit(name)
        return (
          <button
            key={name}
            type="button"
            title={sorting ? `${description} Click to reverse the order.` : description}
            aria-pressed={sorting}
            onClick={() => onSort(name, sorting ? other : 'desc')}
            className={`min-w-0 items-center justify-end gap-1 whitespace-nowrap ${
              sorting ? 'flex font-semibold text-ink' : shownFrom(column, effects) === 'xl' ? 'hidden hover:text-ink xl:flex' : 'hidden hover:text-ink 3xl:flex'
            }`}
          >
            <span className="truncate">{label}</span>
            {unit && !inPane && !sorting && <span className="hidden font-normal text-faint sm:inline">({unit})</span>}
            {sorting && <Icon name={order === 'desc' ? 'down' : 'up'} size={12} />}
          </button>
        )
      })}
    </div>
  )
}

/** A row of the list: a feature, linked to its page. */
export function FeatureRowLink({ row, feature, href, current, labels, metrics, metric, max, effects, stability, inPane }: {
  row: number
  feature: FeatureRow
  href: string
  current: boolean
  labels: readonly string[]
  metrics: MetricInfo[]
  metric: string
  /** The largest value of `metric`, which a full bar stands for. */
  max: number
  effects: boolean
  /** In which other seeds features were looked for; null: in none. */
  stability: Stability | null
  inPane: boolean
}) {
  return (
    <Link
      href={href}
      data-row
      aria-current={current ? 'page' : undefined}
      className={`${grid(inPane)} ${feature.nearest ? 'gap-y-0.5 py-1.5' : 'h-9'} border-b border-line text-sm outline-offset-[-2px] hover:bg-sunk aria-[current=page]:bg-sunk`}
      style={columns(metrics, effects, labels)}
    >
      <span className={`text-right text-xs text-faint tabular-nums ${inPane ? '' : 'max-sm:hidden'}`}>{count(row + 1)}</span>
      <span className={`flex items-center justify-end gap-1.5 tabular-nums ${current ? 'font-semibold text-plum' : ''}`}>
        {feature.leaning !== null && (
          <span title={`Best indicates ${className(labels, feature.leaning)}`} className="flex">
            <ClassMark labels={labels} index={feature.leaning} />
          </span>
        )}
        <span className="min-w-[4ch] text-right">{feature.feature}</span>
      </span>
      <FeatureWord feature={feature} stability={inPane ? null : stability} indicates={feature.leaning !== null && isMany(labels) && !inPane ? className(labels, feature.leaning) : ''} />
      {!inPane && (
        <>
          <span className="hidden sm:block">{feature.histogram.length > 0 && <SparkHistogram counts={feature.histogram} />}</span>
          <span className="hidden text-right text-soft tabular-nums xl:block">{count(feature.n_headlines)}</span>
          <span className="hidden text-right text-soft tabular-nums xl:block">{rarity(feature.density)}</span>
        </>
      )}
      {effects && <SliceEffect feature={feature} labels={labels} />}
      {metrics.map(({ name, label }, column) => {
        const value = feature.values[name]
        return (
          <span key={name} className={`relative text-right tabular-nums ${name === metric ? '' : shownFrom(column, effects) === 'xl' ? 'hidden text-soft xl:block' : 'hidden text-soft 3xl:block'}`}>
            <span className="sr-only">{label} </span>
            {value === undefined ? '–' : metricValue(name, value)}
            {name === metric && value !== undefined && max > 0 && (
              <span
                aria-hidden="true"
                className="absolute right-0 -bottom-[3px] h-[2px] bg-bar"
                style={{ width: `${Math.max(0, Math.min(100, (100 * value) / max))}%` }}
              />
            )}
          </span>
        )
      })}
      {feature.nearest && <Nearest nearest={feature.nearest} />}
    </Link>
  )
}

/** Why a search by meaning found the feature. */
function Nearest({ nearest: { text, similarity } }: { nearest: NearestExample }) {
  return (
    <span className="col-span-full flex min-w-0 gap-2 text-xs text-soft" title={visible(text)}>
      <span className="shrink-0 text-faint">nearest example, {similarity.toFixed(2)}</span>
      <bdi className="min-w-0 truncate font-serif">{visible(text)}</bdi>
    </span>
  )
}

/** The effect on the class that it moves most in the slice, and the headlines behind it. */
function SliceEffect({ feature: { slice_effects, n_slice_effects }, labels }: { feature: FeatureRow; labels: readonly string[] }) {
  const strongest = strongestEffect(slice_effects ?? [])
  if (!strongest) return <span className="hidden text-right text-soft xl:block">–</span>
  const name = className(labels, strongest.index)
  const n = n_slice_effects ?? 0
  return (
    <span
      className="hidden min-w-0 flex-col text-right text-xs leading-tight text-soft tabular-nums xl:flex"
      title={`Mean effect on the ${name} logit over ${counted(n, 'headline')}`}
    >
      <bdi className="truncate">{name}</bdi>
      <span>
        {signed(strongest.effect)}, <span className="text-faint">n = {count(n)}</span>
      </span>
    </span>
  )
}

/** Its name and word and, where the class that it indicates has no mark, that class. */
function FeatureWord({ feature, stability, indicates }: { feature: FeatureRow; stability: Stability | null; indicates: string }) {
  const remark = feature.status === 'dead' ? 'never fires' : feature.status === 'thin' ? 'thin support' : ''
  return (
    <span className="flex min-w-0 items-baseline gap-2">
      <FeatureCalled feature={feature.feature} found={feature.found_name} word={feature.word} />
      {feature.word === null && !feature.found_name && !remark && <span className="truncate text-xs text-faint">no examples saved</span>}
      {indicates && (
        <bdi className="hidden min-w-0 shrink-[9999] truncate text-xs text-faint sm:block" title={`Best indicates ${indicates}`}>
          {indicates}
        </bdi>
      )}
      {remark && (
        <span className="shrink-0 text-xs text-faint" title={`Fires in ${counted(feature.n_headlines, 'headline')}`}>
          {remark}
        </span>
      )}
      {stability && feature.status !== 'dead' && (
        <span className="ml-auto shrink-0 self-center">
          <SeedBadge found={feature.values[FOUND_IN_SEEDS] ?? 0} stability={stability} />
        </span>
      )}
    </span>
  )
}

export function SkeletonFeature() {
  return (
    <div aria-hidden="true" className="flex h-9 items-center gap-4 border-b border-line">
      <span className="skeleton h-3 w-20" />
      <span className="skeleton h-3 w-28" />
      <span className="skeleton ml-auto h-3 w-16" />
    </div>
  )
}
