import { ConfusionMatrix, FEW } from '../../components/ConfusionMatrix'
import { ClassName } from '../../components/Outcome'
import type { RunMetadata } from '../../interpAPI'
import { isMany, NO_LABELS } from '../../lib/classes'
import { count, percent } from '../../lib/format'
import { CELL, HEAD, Section, Strong } from './Section'

/** Accuracy, scores per class and the confusion matrix on the test split. */
export function ClassifierReport({ run }: { run: RunMetadata }) {
  const { report } = run.classifier
  const many = isMany(run.labels)
  if (report === null) {
    return (
      <Section title="Classifier">
        <p>{NO_LABELS} So it has no scores.</p>
      </Section>
    )
  }
  return (
    <Section title="Classifier">
      <p className="pb-2">
        Accuracy <Strong>{percent(report.accuracy)}</Strong>, macro-F1 <Strong>{report.macro_f1.toFixed(3)}</Strong> on{' '}
        {count(report.n_headlines)} {report.split} headlines.
        <span className="block text-xs text-soft">
          Predicting the most frequent class: {percent(report.majority_accuracy)} and {report.majority_macro_f1.toFixed(3)}.
        </span>
      </p>
      <div role="region" aria-label="Scores of the classifier by class" tabIndex={0} className={`overflow-auto ${many ? 'max-h-72' : ''}`}>
        <table className="w-full">
          <thead className="sticky top-0 bg-paper">
            <tr>
              <th scope="col" className={`${HEAD} pl-0! text-left!`}>class</th>
              <th scope="col" className={HEAD}>precision</th>
              <th scope="col" className={HEAD}>recall</th>
              <th scope="col" className={HEAD}>F1</th>
              <th scope="col" className={HEAD} title="Headlines of the class">n</th>
            </tr>
          </thead>
          <tbody>
            {report.per_class.map((score, i) => (
              <tr key={i} className="border-t border-line">
                <th scope="row" className="max-w-32 py-1 text-left font-normal xl:max-w-40">
                  <ClassName labels={run.labels} index={i} />
                </th>
                <td className={CELL}>{percent(score.precision)}</td>
                <td className={CELL}>{percent(score.recall)}</td>
                <td className={CELL}>{score.f1.toFixed(3)}</td>
                <td className={CELL}>{count(score.support)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <p className="mt-4 mb-1.5 text-xs text-soft">
        Headlines by class (row) and predicted class (column){run.labels.length > FEW && '; frames mark the largest confusions'}.
      </p>
      <ConfusionMatrix labels={run.labels} counts={report.confusion} />
    </Section>
  )
}
