import { useState, type ReactNode } from 'react'
import type { FeatureInfo, FeatureStat, MetricInfo } from '../../interpAPI'
import { isMany } from '../../lib/classes'
import { count, metricUnit, metricValue, number } from '../../lib/format'
import { classMetrics, type ClassMetric } from '../../lib/metrics'
import { visible } from '../../lib/text'
import { Reading, Section } from './Section'

/** Every metric of one feature with its unit, its rank and, where it is an estimate, its interval. */
export function Statistics({ info, nFeatures }: { info: FeatureInfo; nFeatures: number }) {
  const estimated = info.stats.some(({ low, n, q }) => low !== null || n !== null || q !== null)
  const metrics = new Map(info.metrics.map((metric) => [metric.name, metric]))
  const ofClass = isMany(info.labels) ? classMetrics(info.metrics, info.labels) : new Map<string, ClassMetric>()
  const single = info.stats.filter(({ name }) => !ofClass.has(name))
  const groups = new Map<string, FeatureStat[]>()
  for (const stat of info.stats) {
    const group = ofClass.get(stat.name)?.group
    if (group !== undefined) groups.set(group, [...(groups.get(group) ?? []), stat])
  }
  const line = (stat: FeatureStat) => <Line key={stat.name} stat={stat} metric={metrics.get(stat.name)} estimated={estimated} />
  return (
    <Section id="statistics" title="Statistics">
      <table className="w-full text-sm">
        <caption className="sr-only">Statistics over the run’s counted tokens</caption>
        <thead className="text-xs text-soft">
          <tr>
            <th scope="col" className="py-1.5 text-left font-normal">statistic</th>
            <th scope="col" className="py-1.5 pl-4 text-right font-normal">value</th>
            {estimated && <th scope="col" className="hidden py-1.5 pl-4 text-right font-normal sm:table-cell">95 % interval</th>}
            {estimated && <th scope="col" className="hidden py-1.5 pl-4 text-right font-normal sm:table-cell">n · q</th>}
            <th scope="col" className="w-28 py-1.5 pl-4 text-right font-normal">rank of {count(nFeatures)}</th>
          </tr>
        </thead>
        <tbody>
          {single.map(line)}
        </tbody>
        {[...groups].map(([group, stats]) => (
          <Group key={group} name={group} stats={stats} line={line} />
        ))}
      </table>
      <Reading>
        f is the feature’s activation, in units of the classifier’s normalised activations. Rank 1 has the highest value.
        {estimated && ' n is the number of headlines behind an estimate, and q is its false-discovery rate, corrected for the number of features.'}
      </Reading>
    </Section>
  )
}

/** How many metrics of a group are shown before it is unfolded. */
const FIRST = 3

/** The metrics of many classes: the ones with the best ranks, and the others at a click. */
function Group({ name, stats, line }: { name: string; stats: FeatureStat[]; line: (stat: FeatureStat) => ReactNode }) {
  const [all, setAll] = useState(false)
  const sorted = [...stats].sort((one, other) => one.rank - other.rank)
  return (
    <tbody aria-label={name}>
      {(all ? sorted : sorted.slice(0, FIRST)).map(line)}
      <tr className="border-t border-line">
        <td colSpan={5} className="py-2">
          <button type="button" aria-expanded={all} className="quiet text-xs" onClick={() => setAll(!all)}>
            {all ? `The ${FIRST} best ranks of “${visible(name)}”` : `All ${stats.length} classes of “${visible(name)}”`}
          </button>
        </td>
      </tr>
    </tbody>
  )
}

function Line({ stat, metric, estimated }: { stat: FeatureStat; metric: MetricInfo | undefined; estimated: boolean }) {
  const { name, value, rank, low, high, n, q } = stat
  const interval = low === null || high === null ? '' : `${metricValue(name, low)} to ${metricValue(name, high)}`
  const basis = [n === null ? '' : count(n), q === null ? '' : number(q)].filter(Boolean).join(' · ')
  return (
    <>
      <tr className="border-t border-line align-baseline">
        <th scope="row" className="pt-2 sm:pb-2 text-left font-normal wrap-anywhere">
          {visible(metric?.label ?? name)}
          <span className="hidden max-w-[36rem] text-xs text-faint sm:block">{visible(metric?.description ?? '')}</span>
          {estimated && interval && (
            <span className="block text-xs text-soft sm:hidden">
              {interval}
              {basis && ` (n · q: ${basis})`}
            </span>
          )}
        </th>
        <td className="py-2 pl-4 text-right whitespace-nowrap tabular-nums">
          {metricValue(name, value)} <span className="text-xs text-faint">{metricUnit(name)}</span>
        </td>
        {estimated && <td className="hidden py-2 pl-4 text-right text-xs whitespace-nowrap text-soft tabular-nums sm:table-cell">{interval}</td>}
        {estimated && <td className="hidden py-2 pl-4 text-right text-xs whitespace-nowrap text-soft tabular-nums sm:table-cell">{basis}</td>}
        <td className="py-2 pl-4 text-right tabular-nums">{count(rank)}</td>
      </tr>
      <tr className="sm:hidden">
        <td colSpan={3} className="pb-2 text-xs text-faint wrap-anywhere">{visible(metric?.description ?? '')}</td>
      </tr>
    </>
  )
}
