/** Classes, verdicts and predictions, each with a shape and a word beside its colour. */

import { useLabelled } from '../hooks/useLabelled'
import type { Prompt } from '../interpAPI'
import { classLook, className, describeProbabilities, isMany, type Shape } from '../lib/classes'
import { percent } from '../lib/format'
import { Icon } from './Icon'

const SHAPES: Record<Shape, string> = {
  down: 'M1 2.5h8L5 9Z',
  up: 'M1 7.5h8L5 1Z',
  bar: 'M1 3.8h8v2.4H1Z',
  disc: 'M5 1a4 4 0 1 1 0 8 4 4 0 0 1 0-8Z',
  square: 'M1.5 1.5h7v7h-7Z',
  diamond: 'M5 .5 9.5 5 5 9.5.5 5Z',
  ring: 'M5 .7a4.3 4.3 0 1 1 0 8.6A4.3 4.3 0 0 1 5 .7Zm0 2.3a2 2 0 1 0 0 4 2 2 0 0 0 0-4Z',
  plus: 'M3.6 1h2.8v2.6H9v2.8H6.4V9H3.6V6.4H1V3.6h2.6Z',
  star: 'M5 .4 6.3 3.5 9.7 3.8 7.1 6 7.9 9.3 5 7.5 2.1 9.3 2.9 6 .3 3.8 3.7 3.5Z',
  frame: 'M1 1h8v8H1ZM3.2 3.2v3.6h3.6V3.2Z',
  hourglass: 'M1 1h8L6.4 5 9 9H1l2.6-4Z',
}

/** The mark of a class; nothing in runs with many classes. */
export function ClassMark({ labels, index }: { labels: readonly string[]; index: number }) {
  const { shape, color } = classLook(labels, index)
  if (!shape) return null
  return (
    <svg aria-hidden="true" viewBox="0 0 10 10" width="10" height="10" className="inline-block shrink-0" style={{ color }}>
      <path d={SHAPES[shape]} fill="currentColor" />
    </svg>
  )
}

export function ClassName({ labels, index }: { labels: readonly string[]; index: number }) {
  return (
    <span className="inline-flex max-w-full min-w-0 items-center gap-1.5">
      <ClassMark labels={labels} index={index} />
      <bdi className="truncate" title={className(labels, index)}>
        {className(labels, index)}
      </bdi>
    </span>
  )
}

/** Whether a prediction is right; nothing where the table has no labels. */
export function Verdict({ correct }: { correct: boolean }) {
  if (!useLabelled()) return null
  return (
    <span className={`inline-flex items-center gap-1 font-semibold whitespace-nowrap ${correct ? 'text-correct' : 'text-wrong'}`}>
      <Icon name={correct ? 'check' : 'cross'} size={14} />
      {correct ? 'Correct' : 'Wrong'}
    </span>
  )
}

/** A headline with its true class and its prediction. */
type Predicted = Pick<Prompt, 'label' | 'prediction' | 'probabilities'>

export function isCorrect({ label, prediction }: Predicted): boolean {
  return label === prediction
}

/** The probability of the predicted class. */
function confidence({ prediction, probabilities }: Predicted): number {
  return probabilities[prediction] ?? 0
}

/** The prediction above the label, if there is one, with the class probabilities as a bar. */
export function Outcome({ prompt, labels }: { prompt: Predicted; labels: readonly string[] }) {
  const labelled = useLabelled()
  return (
    <div className="w-full text-xs">
      <dl className="grid grid-cols-[4.25rem_1fr_auto] gap-x-1 text-soft">
        <dt className="text-faint">predicted</dt>
        <dd className="min-w-0 text-ink">
          <ClassName labels={labels} index={prompt.prediction} />
        </dd>
        <dd className="text-right tabular-nums">{percent(confidence(prompt))}</dd>
        {labelled && (
          <>
            <dt className="text-faint">label</dt>
            <dd className="min-w-0 text-ink">
              <ClassName labels={labels} index={prompt.label} />
            </dd>
          </>
        )}
      </dl>
      <ProbabilityBar prompt={prompt} labels={labels} />
    </div>
  )
}

/** `Outcome` and the verdict in one line, for narrow screens. */
export function OutcomeLine({ prompt, labels }: { prompt: Predicted; labels: readonly string[] }) {
  const labelled = useLabelled()
  return (
    <div className="text-xs">
      <p className="flex flex-wrap items-center gap-x-3">
        <Verdict correct={isCorrect(prompt)} />
        <span className="inline-flex max-w-full min-w-0 gap-1.5">
          <span className="sr-only">predicted</span>
          <ClassName labels={labels} index={prompt.prediction} />
          <span className="whitespace-nowrap text-soft tabular-nums">{percent(confidence(prompt))}</span>
        </span>
        {labelled && (
          <span className="inline-flex max-w-full min-w-0 gap-1.5">
            <span className="text-faint">label</span>
            <ClassName labels={labels} index={prompt.label} />
          </span>
        )}
      </p>
      <ProbabilityBar prompt={prompt} labels={labels} />
    </div>
  )
}

/** The class probabilities as parts of a bar. Of many classes it shows only the predicted one and, where it differs, the true one. */
function ProbabilityBar({ prompt, labels }: { prompt: Predicted; labels: readonly string[] }) {
  const { probabilities, prediction, label } = prompt
  const description = describeProbabilities(labels, probabilities, percent)
  const many = isMany(labels)
  const shown = !many ? [...probabilities.keys()] : prediction === label ? [prediction] : [prediction, label]
  const rest = 1 - shown.reduce((sum, index) => sum + (probabilities[index] ?? 0), 0)
  return (
    <div role="img" aria-label={`Probabilities: ${description}`} title={description} className="mt-1 flex h-1.5 gap-px overflow-hidden rounded-[2px]">
      {shown.map((index, i) => (
        <span key={index} style={{ flexGrow: probabilities[index], backgroundColor: many && i > 0 ? 'var(--color-edge)' : classLook(labels, index).color }} />
      ))}
      {many && <span className="bg-sunk" style={{ flexGrow: Math.max(0, rest) }} />}
    </div>
  )
}
