import { Link } from 'wouter'
import type { FeatureRow, MetricInfo } from '../interpAPI'
import { count, metricUnit, metricValue } from '../lib/format'
import { Word } from './HeatText'
import { Icon } from './Icon'

const MOST_COLUMNS = 6

/** The metrics that have a column: beside a feature's page only the one that sorts. */
export function shownMetrics(metrics: MetricInfo[], sorting: string, inPane: boolean): MetricInfo[] {
  if (!inPane && metrics.length <= MOST_COLUMNS) return metrics
  const chosen = metrics.filter(({ name }) => name === sorting)
  if (inPane) return chosen
  return [...chosen, ...metrics.filter(({ name }) => name !== sorting)].slice(0, MOST_COLUMNS)
}

/** Narrow screens show the sorting metric alone, wide ones all columns. */
const GRID = 'grid items-center gap-x-4 grid-cols-[2.25rem_3.25rem_minmax(0,1fr)_8rem] sm:grid-cols-[2.75rem_3.5rem_minmax(0,1fr)_9rem]'
const WIDE = 'lg:grid-cols-[3.5rem_4.5rem_minmax(8rem,1fr)_6rem_repeat(var(--columns),minmax(6.5rem,9rem))]'

function grid(inPane: boolean): string {
  return inPane ? 'grid items-center gap-x-3 grid-cols-[2.5rem_3.25rem_minmax(0,1fr)_7.25rem]' : `${GRID} ${WIDE}`
}
const columns = (metrics: MetricInfo[]) => ({ '--columns': metrics.length }) as React.CSSProperties

/** Headings; a metric's heading sorts by it. */
export function FeatureColumns({ metrics, metric, inPane, onMetric }: {
  metrics: MetricInfo[]
  metric: string
  inPane: boolean
  onMetric: (name: string) => void
}) {
  return (
    <div className={`${grid(inPane)} border-b border-line pb-1.5 text-xs text-soft`} style={columns(metrics)}>
      <span className="text-right">rank</span>
      <span className="text-right">feature</span>
      <span className="truncate">
        <span className="hidden sm:inline">strongest </span>word
      </span>
      {!inPane && <span className="hidden text-right lg:block">headlines</span>}
      {metrics.map(({ name, label, description }) => {
        const unit = metricUnit(name)
        return (
          <button
            key={name}
            type="button"
            title={description}
            aria-pressed={name === metric}
            onClick={() => onMetric(name)}
            className={`min-w-0 items-center justify-end gap-1 whitespace-nowrap ${
              name === metric ? 'flex font-semibold text-ink' : 'hidden hover:text-ink lg:flex'
            }`}
          >
            <span className="truncate">{label}</span>
            {unit && !inPane && <span className="hidden font-normal text-faint sm:inline">({unit})</span>}
            {name === metric && <Icon name="down" size={12} />}
          </button>
        )
      })}
    </div>
  )
}

/** A feature in the list, a link to its page. */
export function FeatureRowLink({ row, feature, href, current, metrics, metric, max, numbered, inPane }: {
  row: number
  feature: FeatureRow
  href: string
  current: boolean
  metrics: MetricInfo[]
  metric: string
  /** The largest value of `metric`, for the bars. */
  max: number
  /** Whether the row's place is its rank. */
  numbered: boolean
  inPane: boolean
}) {
  return (
    <Link
      href={href}
      data-row
      aria-current={current ? 'page' : undefined}
      className={`${grid(inPane)} h-9 border-b border-line text-sm outline-offset-[-2px] hover:bg-sunk aria-[current=page]:bg-sunk`}
      style={columns(metrics)}
    >
      <span className="text-right text-xs text-faint tabular-nums">{numbered ? count(row + 1) : ''}</span>
      <span className={`text-right tabular-nums ${current ? 'font-semibold text-plum' : ''}`}>{feature.feature}</span>
      <span className="truncate">
        {feature.word === null ? (
          <span className="text-xs text-faint">{feature.n_headlines === 0 ? 'never fires' : 'no examples saved'}</span>
        ) : (
          <Word>{feature.word}</Word>
        )}
      </span>
      {!inPane && <span className="hidden text-right text-soft tabular-nums lg:block">{count(feature.n_headlines)}</span>}
      {metrics.map(({ name, label }) => {
        const value = feature.values[name]
        return (
          <span
            key={name}
            className={`relative text-right tabular-nums ${name === metric ? '' : 'hidden text-soft lg:block'}`}
          >
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
    </Link>
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
