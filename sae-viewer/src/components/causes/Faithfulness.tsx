import { className } from '../../lib/classes'
import { signed } from '../../lib/effects'
import { Icon } from '../Icon'

/** Whether the SAE's reconstruction in place of the activations leads to the same prediction. */
export function Faithfulness({ prediction, spliced, deltaP, labels }: {
  prediction: number
  spliced: number
  /** Change of the predicted class's probability. */
  deltaP: number
  labels: readonly string[]
}) {
  const same = spliced === prediction
  const change = Number((100 * deltaP).toFixed(1)) === 0 ? 'p as before' : `p ${signed(100 * deltaP)} points`
  const title = same
    ? 'With the SAE’s reconstruction in place of the activations the prediction stays the same.'
    : `With the SAE’s reconstruction in place of the activations the prediction is ${className(labels, spliced)}.`
  return (
    <span
      title={title}
      className={`inline-flex items-center gap-1 whitespace-nowrap ${same ? 'text-correct' : 'text-wrong'}`}
    >
      <Icon name={same ? 'check' : 'alert'} size={14} />
      {same ? 'Faithful' : `Unfaithful: ${className(labels, spliced)} when reconstructed`}
      <span className="text-soft">({change})</span>
    </span>
  )
}
