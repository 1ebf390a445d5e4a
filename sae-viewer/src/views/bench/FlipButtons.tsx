import { Word } from '../../components/HeatText'
import { Notice } from '../../components/Notices'
import type { Flip } from '../../interpAPI'
import type { FeatureEdit } from '../../lib/bench'
import { className, isMany } from '../../lib/classes'
import { percent } from '../../lib/format'
import { useFlip } from './useLive'

/** Buttons that search the smallest set of features whose ablation changes the prediction, or changes it to the true label. */
export function FlipButtons({ run, text, prediction, label, labels, onEdits }: {
  run: string
  text: string
  prediction: number
  /** The true class, where it is known. */
  label: number | undefined
  labels: readonly string[]
  onEdits: (edits: FeatureEdit[]) => void
}) {
  const { mutate, data, error, isPending, variables } = useFlip(run)
  const mine = data && variables.text === text ? data : undefined
  const ask = (target: number | undefined) =>
    mutate(
      { text, target },
      {
        onSuccess: ({ steps }) => {
          if (steps.length > 0) onEdits(steps.map(({ feature }) => ({ feature, operation: 'ablate', value: 0 })))
        },
      },
    )
  return (
    <div className="text-xs">
      <div className="flex flex-wrap gap-2">
        <button type="button" className="button" aria-disabled={isPending} onClick={() => !isPending && ask(undefined)}>
          Flip the prediction
        </button>
        {label !== undefined && label !== prediction && (
          <button type="button" className="button" aria-disabled={isPending} onClick={() => !isPending && ask(label)}>
            Flip it to the label: {className(labels, label)}
          </button>
        )}
        {isPending && <span role="status" className="self-center text-soft">Searching…</span>}
      </div>
      {error && <Notice tone="wrong">{error.message}</Notice>}
      {mine && <FlipPath flip={mine} />}
    </div>
  )
}

/** The probabilities as the features of a flip are ablated one after the other. */
function FlipPath({ flip }: { flip: Flip }) {
  const { before, steps, labels, message } = flip
  // Of many classes only those have a column that are predicted on the way.
  const predicted = new Set([before, ...steps.map(({ after }) => after)].map(({ prediction }) => prediction))
  const classes = [...labels.keys()].filter((index) => !isMany(labels) || predicted.has(index))
  return (
    <div className="mt-2" role="status">
      <p>{message}</p>
      {steps.length > 0 && (
        <table className="mt-1 tabular-nums">
          <caption className="sr-only">Probabilities after each further ablation</caption>
          <thead className="text-soft">
            <tr>
              <th scope="col" className="pr-4 text-left font-normal">ablated</th>
              {classes.map((index) => (
                <th key={index} scope="col" className="max-w-40 min-w-16 truncate pl-2 text-right font-normal">{className(labels, index)}</th>
              ))}
            </tr>
          </thead>
          <tbody>
            {[{ feature: undefined, word: '', after: before }, ...steps].map(({ feature, word, after }, i) => (
              <tr key={i} className="border-t border-line">
                <th scope="row" className="pr-4 text-left font-normal">
                  {feature === undefined ? 'nothing' : <>+ {feature} <Word>{word}</Word></>}
                </th>
                {classes.map((index) => (
                  <td key={index} className={`text-right ${after.prediction === index ? 'font-semibold' : ''}`}>{percent(after.probabilities[index] ?? 0)}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </div>
  )
}
