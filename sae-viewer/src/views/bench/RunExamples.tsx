import { useQueries } from '@tanstack/react-query'
import { Link } from 'wouter'
import { ClassName } from '../../components/Outcome'
import { get, type Headline, type RunMetadata } from '../../interpAPI'
import { writeAddress, type BenchAddress } from '../../lib/address'
import { benchOf, readBench } from '../../lib/bench'
import { percent } from '../../lib/format'
import { visible } from '../../lib/text'

/** [what the headline is, the order of headlines in which it comes first]. */
const KINDS: [name: string, sort: string, order: 'asc' | 'desc'][] = [
  ['Confidently wrong', 'loss', 'desc'],
  ['Undecided', 'margin', 'asc'],
  ['Sure', 'confidence', 'desc'],
]

/** Three headlines of the run to try: one that is confidently wrong, one that is undecided, one that is sure. */
export function RunExamples({ address, run }: { address: BenchAddress; run: RunMetadata }) {
  const kinds = KINDS.filter(([, sort]) => run.labelled || sort !== 'loss')
  const found = useQueries({
    queries: kinds.map(([, sort, order]) => ({
      queryKey: ['bench example', run.run_id, sort],
      queryFn: async ({ signal }: { signal: AbortSignal }) =>
        (await get('/api/headlines', { run: run.run_id, sort, order, limit: 3 }, signal)).headlines,
    })),
  })
  const text = readBench(address.bench ?? '').text
  const shown: [string, Headline][] = []
  found.forEach(({ data }, i) => {
    const name = kinds[i]?.[0] ?? ''
    const headline = data?.find((one) => !shown.some(([, other]) => other.text === one.text))
    // The headline with the largest loss may be right, in a run without errors.
    if (headline) shown.push([name === 'Confidently wrong' && headline.label === headline.prediction ? 'Hardest' : name, headline])
  })
  if (shown.length === 0) return null
  return (
    <section aria-label="Examples to try" className="mt-4">
      <h2 className="eyebrow">Try a headline of {run.run_id}</h2>
      <ul className="mt-1.5 grid grid-cols-1 gap-2 md:grid-cols-3">
        {shown.map(([name, headline]) => (
          <li key={headline.headline} className="min-w-0">
            <Link
              href={writeAddress({ ...address, bench: benchOf(headline.text), headline: headline.headline })}
              aria-current={headline.text === text ? 'true' : undefined}
              className="block h-full rounded-md border border-line bg-raised px-3 py-2 hover:border-edge hover:bg-sunk aria-[current=true]:border-ink"
            >
              <bdi className="line-clamp-2 font-serif wrap-anywhere">{visible(headline.text)}</bdi>
              <span className="mt-1 flex min-w-0 flex-wrap items-baseline gap-x-2 text-xs text-soft">
                <span className="font-semibold text-ink">{name}:</span>
                <ClassName labels={run.labels} index={headline.prediction} />
                <span className="tabular-nums">{percent(headline.probabilities[headline.prediction] ?? 0)}</span>
              </span>
            </Link>
          </li>
        ))}
      </ul>
    </section>
  )
}
