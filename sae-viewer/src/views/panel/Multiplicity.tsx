import { useForgetLooks, useLooks } from '../../hooks/useLooks'
import type { Run } from '../../interpAPI'
import { count, counted } from '../../lib/format'
import { Section, Strong } from './Section'

/** How many tests the run made, and how much of it was looked at in this browser. */
export function Multiplicity({ run }: { run: Run }) {
  const { features, headlines } = useLooks()
  const forget = useForgetLooks()
  const tests = Object.values(run.tests ?? {})
  const total = tests.reduce((sum, n) => sum + n, 0)
  return (
    <Section title="Tests and looks">
      {tests.length > 0 && (
        <p className="text-sm">
          <Strong>{count(total)}</Strong> tests were made: {counted(tests.length, 'metric')}, up to {count(Math.max(...tests))} features each. Label
          metrics are tested on headlines that did not choose the features; q is corrected within a metric, not over all of them.
        </p>
      )}
      <p className="mt-1.5 text-sm">
        In this browser you have looked at <Strong>{counted(features.length, 'feature')}</Strong> and{' '}
        <Strong>{counted(headlines.length, 'headline')}</Strong> of this run.{' '}
        {features.length + headlines.length > 0 && (
          <button type="button" className="quiet" onClick={forget}>
            Forget
          </button>
        )}
      </p>
      <p className="mt-1 text-xs text-soft">
        A feature that was chosen among many looks better than it is. The count is kept in this browser only; a feature’s card states it.
      </p>
    </Section>
  )
}
