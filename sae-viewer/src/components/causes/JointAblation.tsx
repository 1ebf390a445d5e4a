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
      <b className="font-semibold">Together</b>: with the {found.n} listed features ablated at once, the <bdi className="font-semibold">{className(labels, index)}</bdi> logit{' '}
      {found.joint < 0 ? 'gains' : 'loses'} {Math.abs(found.joint).toFixed(2)}. The losses with each of them ablated alone add up to {signed(found.sum)}.
      {pairs.length > 0 && ' Largest interactions (loss with both, less the loss with each): '}
      {pairs.map(({ features, effect }, i) => (
        <span key={features.join()} className="inline-block whitespace-pre">
          {features.map((feature, n) => (
            <span key={feature}>
              {n > 0 && ' and '}
              <Link href={href(feature)} className="hover:underline">{feature}</Link>
            </span>
          ))}{' '}
          {signed(effect)}
          {i < pairs.length - 1 ? ', ' : '.'}
        </span>
      ))}
    </p>
  )
}
