import { Link } from 'wouter'
import { WithCommands } from '../../components/Notices'
import type { Run } from '../../interpAPI'
import { FEATURES, writeAddress, type Address } from '../../lib/address'
import { count, percent } from '../../lib/format'
import { FOUND, FOUND_IN_SEEDS, stableSentence } from '../../lib/stability'
import { CELL, HEAD, Section } from './Section'

/** How many features are found again by trainings with other seeds. */
export function SeedStability({ run, address }: { run: Run; address: Address }) {
  const { stability } = run
  if (!stability) {
    return (
      <Section title="Stability across seeds">
        <p className="text-soft">
          <WithCommands>{`It has not been measured which features another training finds again. \`python -m sae_pipeline family --run ${run.run_id} --seeds 0,1,2\` trains SAEs with other seeds and counts.`}</WithCommands>
        </p>
      </Section>
    )
  }
  const { seeds, found, by_seed } = stability
  const all = found.reduce((sum, one) => sum + one, 0)
  const rows = found.map((n, times) => ({ n, times })).reverse()
  return (
    <Section title="Stability across seeds">
      <p className="pb-2">{stableSentence(stability)}</p>
      <table className="w-full">
        <thead>
          <tr>
            <th scope="col" className={`${HEAD} pl-0! text-left!`}>found in other seeds</th>
            <th scope="col" className={HEAD}>features</th>
            <th scope="col" className={HEAD}>share</th>
            <td className="w-2/5" />
          </tr>
        </thead>
        <tbody>
          {rows.map(({ n, times }) => (
            <tr key={times} className="border-t border-line">
              <th scope="row" className="py-1 text-left font-normal">
                {times} of {seeds.length}
              </th>
              <td className={CELL}>
                {times > 0 && n > 0 ? (
                  <Link className="quiet" href={writeAddress({ ...FEATURES, run: address.run, support: 'live', minSeeds: times, metric: FOUND_IN_SEEDS, order: 'asc' })}>
                    {count(n)}
                  </Link>
                ) : (
                  count(n)
                )}
              </td>
              <td className={CELL}>{percent(n / Math.max(all, 1))}</td>
              <td aria-hidden="true" className="pl-3">
                <span className="block h-2 bg-bar" style={{ width: `${(100 * n) / Math.max(all, 1)}%` }} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      <p className="mt-1.5 text-xs text-soft">
        {FOUND} Of the features that fire, {seeds.map((seed, i) => `${percent(by_seed[i] ?? 0)} are found in seed ${seed}`).join(', ')}. The interval is over features; the differences between seeds show how much the share
        depends on the training.
      </p>
    </Section>
  )
}
