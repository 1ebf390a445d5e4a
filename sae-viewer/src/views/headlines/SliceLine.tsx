import { Link } from 'wouter'
import type { HeadlinesPage, RunMetadata } from '../../interpAPI'
import { FEATURES, writeAddress, type HeadlinesAddress } from '../../lib/address'
import { count, percent } from '../../lib/format'
import { confusionQuery, useConfusion } from './useConfusion'

/** The accuracy of the headlines under the filters beside that of all, and the way to the features of a slice. */
export function SliceLine({ address, run, page }: { address: HeadlinesAddress; run: RunMetadata; page: HeadlinesPage }) {
  const { q, where, feature, minConfidence, maxConfidence } = address
  const counts = useConfusion(confusionQuery(address, run.run_id))
  const filtered = q !== '' || where.length > 0 || feature !== undefined || minConfidence !== undefined || maxConfidence !== undefined
  const n = counts?.flat().reduce((sum, one) => sum + one, 0) ?? 0
  const right = counts?.reduce((sum, row, label) => sum + (row[label] ?? 0), 0) ?? 0
  const scored = run.labelled && filtered && n > 0
  if (!scored && where.length === 0) return null
  return (
    <div role="group" aria-label="The slice" title="A slice is the set of headlines that match the filters" className="flex flex-wrap gap-x-4 border-b border-line py-1.5 text-xs text-soft">
      {scored && (
        <span>
          Accuracy of this slice <strong className="font-semibold text-ink">{percent(right / n)}</strong> ({count(right)} of {count(n)}); accuracy of all headlines{' '}
          {percent(page.n_correct / Math.max(1, page.n_headlines))}
        </span>
      )}
      {where.length > 0 && (
        <Link className="quiet" href={writeAddress({ ...FEATURES, run: address.run, where, metric: 'slice_difference' })}>
          Features of this slice
        </Link>
      )}
    </div>
  )
}
