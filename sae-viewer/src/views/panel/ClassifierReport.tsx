import { ClassMark, ClassName } from '../../components/Outcome'
import type { RunMetadata } from '../../interpAPI'
import { className } from '../../lib/classes'
import { count, number, percent } from '../../lib/format'
import { CELL, HEAD, Section, Strong } from './Section'

/** Accuracy, scores per class and the confusion matrix on the test split. */
export function ClassifierReport({ run }: { run: RunMetadata }) {
  const { report } = run.classifier
  const names = run.labels.map((_, i) => className(run.labels, i))
  const largest = Math.max(1, ...report.confusion.flat())
  return (
    <Section title="Classifier">
      <p className="pb-2">
        Accuracy <Strong>{percent(report.accuracy)}</Strong>, macro-F1 <Strong>{number(report.macro_f1)}</Strong> on{' '}
        {count(report.n_headlines)} {report.split} headlines.
        <span className="block text-xs text-soft">
          Predicting the most frequent class: {percent(report.majority_accuracy)} and {number(report.majority_macro_f1)}.
        </span>
      </p>
      <div role="region" aria-label="Scores of the classifier by class" tabIndex={0} className="overflow-x-auto">
        <table className="w-full">
          <thead>
            <tr>
              <th scope="col" className={`${HEAD} pl-0! text-left!`}>class</th>
              <th scope="col" className={HEAD}>precision</th>
              <th scope="col" className={HEAD}>recall</th>
              <th scope="col" className={`${HEAD} pr-2`}>F1</th>
              {names.map((label, i) => (
                <th key={label} scope="col" className={`${HEAD} pr-1.5`} title={`Headlines predicted ${label}`}>
                  <span aria-hidden="true" className="sm:hidden">
                    <ClassMark labels={run.labels} index={i} />
                  </span>
                  <span className="max-sm:sr-only">as {label.slice(0, 4)}.</span>
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {report.per_class.map((score, i) => (
              <tr key={score.label} className="border-t border-line">
                <th scope="row" className="max-w-32 py-1 text-left font-normal xl:max-w-40">
                  <ClassName labels={run.labels} index={i} />
                </th>
                <td className={CELL}>{percent(score.precision)}</td>
                <td className={CELL}>{percent(score.recall)}</td>
                <td className={`${CELL} pr-2`}>{percent(score.f1)}</td>
                {(report.confusion[i] ?? []).map((n, j) => (
                  <td key={j} className={`${CELL} pr-1.5`} style={{ background: shade(i === j, n / largest) }}>
                    {count(n)}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <p className="mt-1.5 text-xs text-soft">Each row is a true class. Its last columns count its headlines by predicted class.</p>
    </Section>
  )
}

function shade(correct: boolean, share: number): string {
  const color = correct ? 'var(--color-correct)' : 'var(--color-wrong)'
  return `color-mix(in oklab, ${color} ${share > 0 ? 4 + 22 * Math.sqrt(share) : 0}%, transparent)`
}
