import { useForgetLooks, useLooks } from '../../hooks/useLooks'
import type { Run } from '../../interpAPI'
import { count, counted } from '../../lib/format'
import { Section, Strong } from './Section'

/** How many tests the run made, and how many of its features and headlines were opened in this browser. */
export function Multiplicity({ run }: { run: Run }) {
  const { features, headlines } = useLooks()
  const forget = useForgetLooks()
  const tests = Object.values(run.tests ?? {})
  const total = tests.reduce((sum, n) => sum + n, 0)
  return (
    <Section title="How many tests">
      {tests.length > 0 && (
        <p className="text-sm">
          <Strong>{count(total)}</Strong> tests were made: {counted(tests.length, 'metric')}, up to {count(Math.max(...tests))} features each. Metrics about
          labels are tested on headlines that were not used to rank the features. q is corrected for the number of features within a metric, but not for the number of metrics.
        </p>
      )}
      <p className="mt-1.5 text-sm">
        In this browser you have opened <Strong>{counted(features.length, 'feature')}</Strong> and{' '}
        <Strong>{counted(headlines.length, 'headline')}</Strong> of this run.{' '}
        {features.length + headlines.length > 0 && (
          <button type="button" className="quiet" onClick={forget}>
            Reset the count
          </button>
        )}
      </p>
      <p className="mt-1 text-xs text-soft">
        The more features you look at before you choose one, the more likely it stands out by chance. The count stays in this browser, and a feature’s card states it.
      </p>
    </Section>
  )
}
