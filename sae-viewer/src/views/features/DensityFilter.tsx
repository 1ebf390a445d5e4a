import { RangeFilter } from '../../components/RangeFilter'
import { useDensity } from '../../hooks/useDensity'
import { useUnit } from '../../hooks/useUnit'
import type { FeaturesAddress } from '../../lib/address'
import { densityAt, nearestEdge, trimmed } from '../../lib/density'
import { counted, rarity } from '../../lib/format'

const HEIGHT = 44

/** The histogram of densities as a filter: features in the bars between the thumbs are listed. */
export function DensityFilter({ address, run, onChange }: {
  address: Pick<FeaturesAddress, 'minDensity' | 'maxDensity'>
  run: string
  onChange: (bounds: Pick<FeaturesAddress, 'minDensity' | 'maxDensity'>) => void
}) {
  const { data, error } = useDensity(run)
  const unit = useUnit()
  if (error && !data) return null // the list beside it shows the error
  if (!data) return <span className="skeleton block h-20" />
  const { edges, counts } = trimmed(data)
  const last = edges.length - 1
  if (last < 1) return null
  const low = address.minDensity === undefined ? 0 : nearestEdge(edges, address.minDensity)
  const high = address.maxDensity === undefined ? last : nearestEdge(edges, address.maxDensity)
  const largest = Math.max(...counts)
  const named = (step: number) => rarity(densityAt(edges, step))
  return (
    <div>
      <p className="flex justify-between text-xs">
        <span className="text-soft">Density</span>
        <span className="tabular-nums">{low === 0 && high === last ? 'any' : `${named(low)} to ${named(high)}`}</span>
      </p>
      <svg
        role="img"
        aria-label={`Histogram of features by density; ${counted(data.n_dead, 'feature')} never fire`}
        viewBox={`0 0 ${counts.length} ${HEIGHT}`}
        preserveAspectRatio="none"
        className="mt-1 block h-11 w-full px-[0.4375rem]"
      >
        {counts.map((n, bin) => {
          const height = n === 0 ? 0 : Math.max(1, (n / largest) * HEIGHT)
          const listed = bin >= low && bin < high
          return (
            <rect key={bin} x={bin + 0.06} y={HEIGHT - height} width={0.88} height={height} className={listed ? 'fill-bar' : 'fill-line'}>
              <title>{`${counted(n, 'feature')} on ${named(bin)} to ${named(bin + 1)} of ${unit}s`}</title>
            </rect>
          )
        })}
      </svg>
      <RangeFilter
        label="Density"
        steps={last}
        range={[low, Math.max(low, high)]}
        describe={(step) => `${named(step)} of ${unit}s`}
        onRange={(from, to) =>
          onChange({
            minDensity: from === 0 ? undefined : densityAt(edges, from),
            maxDensity: to === last ? undefined : densityAt(edges, to),
          })
        }
      />
      <p className="flex justify-between text-xs text-faint">
        <span>{named(0)}</span>
        <span>share of {unit}s (log)</span>
        <span>{named(last)}</span>
      </p>
      {data.n_dead > 0 && <p className="mt-1 text-xs text-faint">{counted(data.n_dead, 'feature')} never {data.n_dead === 1 ? 'fires' : 'fire'} in this run.</p>}
    </div>
  )
}
