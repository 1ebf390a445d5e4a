import { RangeFilter } from '../../components/RangeFilter'
import type { HeadlinesAddress } from '../../lib/address'

/** A filter by the predicted class's probability, in steps of one per cent. */
export function ConfidenceFilter({ address, onChange }: {
  address: Pick<HeadlinesAddress, 'minConfidence' | 'maxConfidence'>
  onChange: (bounds: Pick<HeadlinesAddress, 'minConfidence' | 'maxConfidence'>) => void
}) {
  const low = Math.round(100 * (address.minConfidence ?? 0))
  const high = Math.round(100 * (address.maxConfidence ?? 1))
  return (
    <div>
      <p className="flex justify-between text-xs">
        <span className="text-soft">Confidence</span>
        <span className="tabular-nums">{low === 0 && high === 100 ? 'any' : `${low} to ${high} %`}</span>
      </p>
      <RangeFilter
        label="Confidence"
        steps={100}
        range={[low, high]}
        describe={(step) => `${step} %`}
        onRange={(from, to) =>
          onChange({ minConfidence: from === 0 ? undefined : from / 100, maxConfidence: to === 100 ? undefined : to / 100 })
        }
      />
    </div>
  )
}
