import { Link } from 'wouter'
import { useExample } from '../hooks/useExample'
import { useLiveState } from '../hooks/useLiveState'
import { BENCH, writeAddress, type Address } from '../lib/address'
import { writeBench } from '../lib/bench'
import { count } from '../lib/format'

/** A link to the bench on which features are ablated, with a headline in which the first of them is strong. */
export function OnBench({ run, features, address }: { run: string; features: readonly number[]; address: Address }) {
  const most = useLiveState().data?.max_edits
  const text = useExample(run, features[0])
  if (most === undefined) return null
  const edits = features.slice(0, most).map((feature) => ({ feature, operation: 'ablate', value: 0 }) as const)
  const bench = writeBench({ text: text ?? '', from: text ?? '', edits })
  return (
    <Link className="quiet" href={writeAddress({ ...BENCH, run: address.run, bench })}>
      {features.length > most ? `Ablate the first ${most} on the bench` : `Ablate ${features.length === 1 ? 'it' : `all ${count(features.length)}`} on the bench`}
    </Link>
  )
}
