import { Notice } from '../../components/Notices'
import { SaveAsSet } from '../../components/SaveAsSet'
import type { RunMetadata } from '../../interpAPI'
import { className, largestConfusions } from '../../lib/classes'
import { scores, signed, transitions } from '../../lib/effects'
import { count, counted, percent } from '../../lib/format'
import { useAudit } from './useAudit'

/** How many changes of the prediction are named. */
const MOVES = 12

/** Ablates the edited features together in every headline of the run, to see whether the classifier depends on them. */
export function Audit({ run, features }: { run: RunMetadata; features: number[] }) {
  const { labels } = run
  const { parts, total, error, running, start, stop, features: asked } = useAudit(run.run_id)
  const truth = parts.flatMap((part) => part.labels)
  const before = parts.flatMap((part) => part.before)
  const after = parts.flatMap((part) => part.after)
  return (
    <section aria-label="Audit" className="text-xs">
      <h3 className="eyebrow">Audit: ablate the edited features in every headline of the run</h3>
      <div className="mt-1.5 flex flex-wrap items-center gap-x-3 gap-y-1">
        <button
          type="button"
          className="button"
          aria-disabled={features.length === 0 && !running}
          onClick={() => (running ? stop() : features.length > 0 && void start(features))}
        >
          {running ? 'Stop' : features.length > 0 ? `Ablate ${counted(features.length, 'feature')} in every headline` : 'Edit a feature first'}
        </button>
        <SaveAsSet key={features.join()} run={run} total={features.length} features={() => features} />
        {total !== undefined && (
          <span role="status" className="text-soft tabular-nums">
            {count(truth.length)} of {counted(total, 'headline')}
            {running && '…'}
          </span>
        )}
      </div>
      {error && <Notice tone="wrong">{error.message}</Notice>}
      {parts.length > 0 && (
        <Result
          features={asked}
          labels={labels}
          before={scores(truth, before, labels.length)}
          after={scores(truth, after, labels.length)}
          changed={transitions(before, after, labels.length)}
          fired={parts.reduce((sum, part) => sum + part.n_fired, 0)}
        />
      )}
    </section>
  )
}

function Result({ features, labels, before, after, changed, fired }: {
  features: readonly number[]
  labels: readonly string[]
  before: ReturnType<typeof scores>
  after: ReturnType<typeof scores>
  /** [before][after] counts of predictions. */
  changed: number[][]
  fired: number
}) {
  const moved = largestConfusions(changed, Infinity)
  const others = moved.length - MOVES
  return (
    <div className="mt-2 space-y-1.5">
      <p className="text-soft">
        {features.length === 1 ? 'Feature' : 'Features'} {features.join(', ')} {features.length === 1 ? 'fires' : 'fire'} in{' '}
        {count(fired)} of {counted(before.n, 'headline')}.
      </p>
      <table className="tabular-nums">
        <thead className="text-soft">
          <tr>
            <td />
            {['before', 'after', 'change, points'].map((head) => (
              <th key={head} scope="col" className="min-w-20 pl-2 text-right font-normal">{head}</th>
            ))}
          </tr>
        </thead>
        <tbody>
          {(['accuracy', 'macroF1'] as const).map((score) => (
            <tr key={score} className="border-t border-line">
              <th scope="row" className="pr-4 text-left font-normal">{score === 'accuracy' ? 'accuracy' : 'macro-F1'}</th>
              <td className="text-right">{percent(before[score])}</td>
              <td className="text-right">{percent(after[score])}</td>
              <td className="text-right">{signed(100 * (after[score] - before[score]))}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <p>
        {moved.length === 0
          ? 'No prediction changes.'
          : `Predictions that change: ${moved.slice(0, MOVES).map(({ label: from, prediction: to, n }) => `${count(n)} from ${className(labels, from)} to ${className(labels, to)}`).join(', ')}${others > 0 ? `, and ${others} other changes` : ''}.`}
      </p>
    </div>
  )
}
