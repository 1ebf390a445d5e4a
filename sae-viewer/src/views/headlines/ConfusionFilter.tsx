import type { ReactNode } from 'react'
import { ClassMark } from '../../components/Outcome'
import { className } from '../../lib/classes'
import { count } from '../../lib/format'
import { useConfusion, type ConfusionQuery } from './useConfusion'

/** A true class and a predicted class, either of which may be any. */
interface Pair {
  label: number | undefined
  prediction: number | undefined
}

/** The confusion matrix as a filter: a cell chooses label and prediction, a heading one of them. */
export function ConfusionFilter({ labels, query, chosen, correct, onChoose }: {
  labels: readonly string[]
  query: ConfusionQuery
  chosen: Pair
  correct: boolean | undefined
  onChoose: (pair: Pair) => void
}) {
  const counts = useConfusion(query)
  const largest = Math.max(1, ...(counts?.flat() ?? []))
  const toggle = (pair: Pair) =>
    onChoose(
      pair.label === chosen.label && pair.prediction === chosen.prediction
        ? { label: undefined, prediction: undefined }
        : pair,
    )
  const included = (label: number, prediction: number) =>
    (chosen.label ?? label) === label &&
    (chosen.prediction ?? prediction) === prediction &&
    (correct ?? label === prediction) === (label === prediction)

  function heading(pair: Pair, children: ReactNode, name: string) {
    const pressed =
      (pair.label === undefined || chosen.label === pair.label) &&
      (pair.prediction === undefined || chosen.prediction === pair.prediction)
    return (
      <button
        type="button"
        aria-pressed={pressed}
        aria-label={name}
        title={name}
        onClick={() =>
          onChoose({
            label: pair.label === undefined ? chosen.label : pressed ? undefined : pair.label,
            prediction: pair.prediction === undefined ? chosen.prediction : pressed ? undefined : pair.prediction,
          })
        }
        className="matrix-head"
      >
        {children}
      </button>
    )
  }

  const names = labels.map((_, index) => className(labels, index))
  return (
    <div
      role="group"
      aria-label="Filter by label and prediction"
      className="grid gap-px text-xs"
      style={{ gridTemplateColumns: `5.25rem repeat(${labels.length}, minmax(0, 1fr))` }}
    >
      <span />
      <span className="pb-0.5 text-center text-faint" style={{ gridColumn: `span ${labels.length}` }}>
        predicted
      </span>
      <span className="self-end pb-1 text-faint">label</span>
      {names.map((predicted, prediction) => (
        <span key={prediction} className="flex flex-col items-stretch">
          {heading(
            { label: undefined, prediction },
            <span className="flex w-full flex-col items-center gap-0.5">
              <ClassMark labels={labels} index={prediction} />
              <span className="max-w-full truncate">{predicted}</span>
            </span>,
            `Predicted ${predicted}`,
          )}
        </span>
      ))}
      {names.map((name, label) => [
        <span key={`${label}`}>
          {heading(
            { label, prediction: undefined },
            <span className="flex items-center gap-1.5 pr-1">
              <ClassMark labels={labels} index={label} />
              <span className="truncate">{name}</span>
            </span>,
            `Label ${name}`,
          )}
        </span>,
        ...names.map((predicted, prediction) => {
          const n = counts?.[label]?.[prediction]
          const pressed = chosen.label === label && chosen.prediction === prediction
          return (
            <button
              key={`${label} ${prediction}`}
              type="button"
              aria-pressed={pressed}
              aria-label={`Label ${name}, predicted ${predicted}: ${n === undefined ? 'counting' : count(n)}`}
              onClick={() => toggle({ label, prediction })}
              className={`matrix-cell ${included(label, prediction) ? '' : 'text-faint'}`}
              style={{ backgroundColor: included(label, prediction) ? shade(label === prediction, (n ?? 0) / largest) : undefined }}
            >
              {n === undefined ? <span className="skeleton inline-block h-3 w-6" /> : count(n)}
            </button>
          )
        }),
      ])}
    </div>
  )
}

/** The colour of a cell: green on the diagonal, red elsewhere, deeper where there are more headlines. */
function shade(correct: boolean, share: number): string {
  const color = correct ? 'var(--color-correct)' : 'var(--color-wrong)'
  return `color-mix(in oklab, ${color} ${share > 0 ? 6 + 26 * Math.sqrt(share) : 0}%, var(--color-raised))`
}
