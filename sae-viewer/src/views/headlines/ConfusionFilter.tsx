import { useState } from 'react'
import { ClassChoice } from '../../components/ClassChoice'
import { ConfusionMatrix, type Pair } from '../../components/ConfusionMatrix'
import { Modal } from '../../components/Modal'
import { className, isMany, largestConfusions } from '../../lib/classes'
import { count } from '../../lib/format'
import { useConfusion, type ConfusionQuery } from './useConfusion'

/** How many of the largest confusions are listed. */
const LISTED = 5

/** Filters by label and prediction: the confusion matrix or, for many classes, lists to search and the matrix in a dialog. */
export function ConfusionFilter({ labels, query, chosen, correct, onChoose }: {
  labels: readonly string[]
  query: ConfusionQuery
  chosen: Pair
  correct: boolean | undefined
  onChoose: (pair: Pair) => void
}) {
  const counts = useConfusion(query)
  const [open, setOpen] = useState(false)
  const choose = (pair: Pair) => {
    setOpen(false)
    onChoose(pair)
  }
  const matrix = <ConfusionMatrix labels={labels} counts={counts} filter={{ chosen, correct, onChoose: choose }} />
  if (!isMany(labels)) return matrix
  return (
    <div className="space-y-2.5">
      <ClassChoice name="Label" labels={labels} chosen={chosen.label} onChoose={(label) => onChoose({ ...pairOf(chosen), label })} />
      <ClassChoice name="Predicted" labels={labels} chosen={chosen.prediction} onChoose={(prediction) => onChoose({ ...pairOf(chosen), prediction })} />
      <LargestConfusions labels={labels} counts={counts} chosen={chosen} onChoose={onChoose} />
      <button type="button" className="quiet text-xs" onClick={() => setOpen(true)}>
        Confusion matrix of {labels.length} classes
      </button>
      {open && (
        <Modal title="Confusion matrix" wide="widest" onClose={() => setOpen(false)}>
          <p className="mb-3 text-xs text-soft">
            Each row is a label, each column a predicted class. Frames mark the largest confusions. Click a cell or a name to filter the headlines.
          </p>
          {matrix}
        </Modal>
      )}
    </div>
  )
}

/** The filter by class where the table has no labels. */
export function PredictionFilter({ labels, chosen, onChoose }: {
  labels: readonly string[]
  chosen: number | undefined
  onChoose: (index: number | undefined) => void
}) {
  return <ClassChoice name="Predicted" labels={labels} chosen={chosen} onChoose={onChoose} />
}

const pairOf = ({ label, prediction }: Pair): Pair => ({ label, prediction })

/** The pairs of label and prediction with the most wrong headlines; each is a filter. */
function LargestConfusions({ labels, counts, chosen, onChoose }: {
  labels: readonly string[]
  counts: readonly (readonly number[])[] | undefined
  chosen: Pair
  onChoose: (pair: Pair) => void
}) {
  if (!counts) return <span className="skeleton block h-24" />
  const found = largestConfusions(counts, LISTED)
  if (found.length === 0) return <p className="text-xs text-soft">No headline is classified wrongly.</p>
  return (
    <section aria-label="Largest confusions" className="text-xs">
      <h3 className="mb-0.5 text-soft">Largest confusions: label, prediction</h3>
      <ul>
        {found.map(({ label, prediction, n }) => {
          const pressed = chosen.label === label && chosen.prediction === prediction
          const names = [className(labels, label), className(labels, prediction)] as const
          return (
            <li key={`${label} ${prediction}`}>
              <button
                type="button"
                aria-pressed={pressed}
                aria-label={`Label ${names[0]}, predicted ${names[1]}: ${count(n)}`}
                onClick={() => onChoose(pressed ? { label: undefined, prediction: undefined } : { label, prediction })}
                className="grid w-full grid-cols-[minmax(0,1fr)_auto] items-baseline gap-x-2 border-t border-line py-1 text-left hover:bg-sunk aria-pressed:bg-sunk aria-pressed:font-semibold"
              >
                <span className="min-w-0">
                  <bdi className="block truncate" title={names[0]}>{names[0]}</bdi>
                  <bdi className="block truncate text-soft" title={names[1]}>{names[1]}</bdi>
                </span>
                <span className="text-wrong tabular-nums">{count(n)}</span>
              </button>
            </li>
          )
        })}
      </ul>
    </section>
  )
}
