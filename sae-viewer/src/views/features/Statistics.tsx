import type { FeatureInfo, FeatureStat, MetricInfo } from '../../interpAPI'
import { count, metricUnit, metricValue, number } from '../../lib/format'
import { visible } from '../../lib/text'
import { Reading, Section } from './Section'

/** Every metric of one feature with its unit, its rank and, where it is an estimate, its interval. */
export function Statistics({ info, nFeatures }: { info: FeatureInfo; nFeatures: number }) {
  const estimated = info.stats.some(({ low, n, q }) => low !== null || n !== null || q !== null)
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
          {info.stats.map((stat) => (
            <Line key={stat.name} stat={stat} metric={info.metrics.find(({ name }) => name === stat.name)} estimated={estimated} />
          ))}
        </tbody>
      </table>
      <Reading>
        f is the activation in units of the normalised residual stream; rank 1 is the highest value.
        {estimated && ' n is the number of headlines behind an estimate, q its false-discovery rate over all features.'}
      </Reading>
    </Section>
  )
}

function Line({ stat, metric, estimated }: { stat: FeatureStat; metric: MetricInfo | undefined; estimated: boolean }) {
  const { name, value, rank, low, high, n, q } = stat
  const interval = low === null || high === null ? '' : `${metricValue(name, low)} to ${metricValue(name, high)}`
  const basis = [n === null ? '' : count(n), q === null ? '' : number(q)].filter(Boolean).join(' · ')
  return (
    <tr className="border-t border-line align-baseline">
      <th scope="row" className="py-2 text-left font-normal wrap-anywhere">
        {visible(metric?.label ?? name)}
        <span className="block max-w-[36rem] text-xs text-faint">{visible(metric?.description ?? '')}</span>
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
  )
}
