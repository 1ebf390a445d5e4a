import { Link } from 'wouter'
import type { HeadlineEffects } from '../../interpAPI'
import { className } from '../../lib/classes'
import { signed, together } from '../../lib/effects'

/** How many pairs are named. */
const MOST = 3

/** What ablating all listed features at once changes, beside the sum of their single ablations, and the largest interactions. */
export function JointAblation({ effects, index, labels, href }: {
  effects: HeadlineEffects
  /** The class. */
  index: number
  labels: readonly string[]
  href: (feature: number) => string
}) {
  const found = together(effects, index)
  if (!found) return null
  const pairs = found.pairs.slice(0, MOST)
  return (
    <p className="mt-1 max-w-[46rem] text-xs text-soft">
      <b className="font-semibold">Together</b>: ablating the {found.n} listed features at once changes the <bdi className="font-semibold">{className(labels, index)}</bdi> logit by{' '}
      {signed(found.joint)}. One by one, the changes add up to {signed(found.sum)}.
      {pairs.length > 0 && ' Largest interactions of pairs: '}
      {pairs.map(({ features, change }, i) => (
        <span key={features.join()} className="inline-block whitespace-pre">
          {features.map((feature, n) => (
            <span key={feature}>
              {n > 0 && ' and '}
              <Link href={href(feature)} className="hover:underline">{feature}</Link>
            </span>
          ))}{' '}
          {signed(change)}
          {i < pairs.length - 1 ? ', ' : '.'}
        </span>
      ))}
    </p>
  )
}
