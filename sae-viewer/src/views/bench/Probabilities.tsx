import { useFoldedClasses } from '../../components/FoldedClasses'
import { ClassName } from '../../components/Outcome'
import type { LivePrediction } from '../../interpAPI'
import { classLook } from '../../lib/classes'
import { percent } from '../../lib/format'

/** The probability of each class as a bar, the predicted class in bold; a mark shows the probability before the edits. */
export function Probabilities({ title, prediction, before, labels }: {
  title: string
  prediction: LivePrediction | undefined
  before?: LivePrediction | undefined
  labels: readonly string[]
}) {
  const now = prediction?.probabilities ?? []
  const [classes, toggle] = useFoldedClasses(labels, labels.map((_, i) => Math.max(now[i] ?? 0, before?.probabilities[i] ?? 0)))
  return (
    <section aria-label={title} className="min-w-0 text-xs">
      <h3 className="eyebrow mb-1">{title}</h3>
      <ul>
        {classes.map((i) => {
          const p = now[i] ?? 0
          const was = before?.probabilities[i]
          return (
            <li key={i} className="grid grid-cols-[5rem_minmax(0,1fr)_4rem] items-center gap-x-2 py-0.5">
              <span className={`min-w-0 ${prediction?.prediction === i ? 'font-semibold' : 'text-soft'}`}>
                <ClassName labels={labels} index={i} />
              </span>
              <span className="relative h-3 rounded-[2px] bg-sunk" aria-hidden="true">
                <span
                  className="absolute inset-y-0 left-0 rounded-[2px] transition-[width] duration-150"
                  style={{ width: `${100 * p}%`, backgroundColor: classLook(labels, i).color }}
                />
                {was !== undefined && (
                  <span className="absolute inset-y-[-2px] w-0.5 bg-ink" style={{ left: `calc(${100 * was}% - 1px)` }} />
                )}
              </span>
              <span className="text-right tabular-nums">{prediction ? percent(p) : '–'}</span>
            </li>
          )
        })}
      </ul>
      {toggle}
    </section>
  )
}
