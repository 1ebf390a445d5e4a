import type { LivePrediction } from '../../interpAPI'
import { classLook, className } from '../../lib/classes'
import { percent } from '../../lib/format'
import { ClassMark } from '../../components/Outcome'

/** One bar per class; the predicted one in bold, and what it was before as a mark. */
export function Probabilities({ title, of, before, labels }: {
  title: string
  of: LivePrediction | undefined
  before?: LivePrediction | undefined
  labels: readonly string[]
}) {
  return (
    <section aria-label={title} className="min-w-0 text-xs">
      <h3 className="eyebrow mb-1">{title}</h3>
      <ul>
        {labels.map((_, i) => {
          const p = of?.probabilities[i] ?? 0
          const was = before?.probabilities[i]
          return (
            <li key={i} className="grid grid-cols-[5rem_minmax(0,1fr)_4rem] items-center gap-x-2 py-0.5">
              <span className={`inline-flex items-center gap-1.5 ${of?.prediction === i ? 'font-semibold' : 'text-soft'}`}>
                <ClassMark labels={labels} index={i} />
                {className(labels, i)}
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
              <span className="text-right tabular-nums">{of ? percent(p) : '–'}</span>
            </li>
          )
        })}
      </ul>
    </section>
  )
}
