import { className } from '../../lib/classes'
import { signed } from '../../lib/effects'
import { Icon } from '../Icon'

/** Whether the prediction stays the same when the SAE's reconstruction replaces the activations. */
export function Faithfulness({ prediction, spliced, deltaP, labels }: {
  prediction: number
  spliced: number
  /** Change of the predicted class's probability. */
  deltaP: number
  labels: readonly string[]
}) {
  const same = spliced === prediction
  const p = `p(${className(labels, prediction)})`
  const change = Number((100 * deltaP).toFixed(1)) === 0 ? `${p} unchanged` : `${p} ${signed(100 * deltaP)} points`
  const title = same
    ? 'The prediction stays the same when the SAE’s reconstruction replaces the activations.'
    : `The prediction becomes ${className(labels, spliced)} when the SAE’s reconstruction replaces the activations.`
  return (
    <span
      title={title}
      className={`inline-flex max-w-full flex-wrap items-center gap-1 wrap-anywhere ${same ? 'text-correct' : 'text-wrong'}`}
    >
      <Icon name={same ? 'check' : 'alert'} size={14} />
      {same ? 'Faithful' : `Unfaithful: ${className(labels, spliced)} with the reconstruction`}
      <span className="text-soft">({change})</span>
    </span>
  )
}
