import type { ReactNode } from 'react'
import { useFoldedClasses } from '../../components/FoldedClasses'
import { ClassName } from '../../components/Outcome'
import type { ClassStatistics, FeatureInfo } from '../../interpAPI'
import { classLook } from '../../lib/classes'
import { count, number, percent, signed } from '../../lib/format'
import { Bar, Interval } from './Interval'
import { Reading, Section } from './Section'

/** A feature within each true class: how often and how strongly it fires, its AUROC, its effect on the logit. */
export function Classes({ info }: { info: FeatureInfo }) {
  const { classes, labels } = info
  const [indices, toggle] = useFoldedClasses(labels, classes.map(weight), 8)
  const listed = indices.flatMap((label) => classes.slice(label, label + 1).map((one) => ({ one, label })))
  const knows = (key: keyof ClassStatistics) => classes.some((one) => one[key] !== null)
  const strongest = Math.max(0, ...classes.map(({ mean_max }) => mean_max))
  const effects = classes.flatMap(({ effect, effect_low, effect_high }) => [effect ?? 0, effect_low ?? 0, effect_high ?? 0])
  const reach = Math.max(1e-12, ...effects.map(Math.abs))
  const columns: [name: string, known: boolean, cell: (one: ClassStatistics, color: string) => ReactNode][] = [
    ['fires in headlines', true, (one, color) => <Fired of={one} color={color} />],
    ['mean maximum (f)', true, (one, color) => (
      <Measure text={number(one.mean_max)}>
        <Bar share={one.mean_max / (strongest || 1)} color={color} />
      </Measure>
    )],
    ['AUROC', knows('auroc'), (one, color) => <Auroc of={one} color={color} />],
    ['effect (logit)', knows('effect'), (one, color) => <Effect of={one} reach={reach} color={color} />],
  ]
  const shown = columns.filter(([, known]) => known)
  return (
    <Section id="classes" title="By class">
      <table className="w-full text-xs max-sm:block">
        <thead className="text-soft max-sm:sr-only">
          <tr>
            <th scope="col" className="py-1.5 text-left font-normal">label</th>
            {shown.map(([name]) => (
              <th key={name} scope="col" className="py-1.5 pl-5 text-left font-normal whitespace-nowrap">{name}</th>
            ))}
          </tr>
        </thead>
        <tbody className="max-sm:block">
          {listed.map(({ one, label }) => (
            <tr key={label} className="border-t border-line align-top max-sm:grid max-sm:grid-cols-2 max-sm:gap-x-4 max-sm:py-2 sm:first:border-line">
              <th scope="row" className="max-w-60 py-2 text-left font-normal max-sm:col-span-2 max-sm:max-w-full max-sm:py-1">
                <ClassName labels={labels} index={label} />
              </th>
              {shown.map(([name, , cell]) => (
                <td key={name} className="py-2 sm:pl-5 max-sm:py-1">
                  <span aria-hidden="true" className="text-faint sm:hidden">{name}</span>
                  {cell(one, classLook(labels, label).color)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      {toggle && <p className="border-t border-line pt-2">{toggle}</p>}
      <Reading>
        {knows('auroc') &&
          'AUROC is the probability that the feature is stronger, by its maximum, in a headline of the class than in one of another class. The line marks 0.5, which is chance. '}
        {knows('effect') && 'The effect is what the feature adds to the class’s logit, averaged over the n headlines that were measured. The line marks 0. '}
        {(knows('auroc_low') || knows('effect_low')) && 'Whiskers are 95 % intervals, from resampled headlines.'}
      </Reading>
    </Section>
  )
}

/** What many classes are ordered by: how well the feature indicates the class or, where that is not known, how often it fires there. */
function weight({ auroc, n_fired, n_headlines }: ClassStatistics): number {
  return auroc ?? n_fired / Math.max(1, n_headlines)
}

/** A value in words and, below it, as a drawing. */
function Measure({ text, small, children }: { text: string | null; small?: string | undefined; children: ReactNode }) {
  if (text === null) return <span className="text-faint">not tested</span>
  return (
    <>
      <span className="block tabular-nums">
        {text} {small && <span className="whitespace-nowrap text-faint">{small}</span>}
      </span>
      {children}
    </>
  )
}

function Fired({ of: { n_fired, n_headlines }, color }: { of: ClassStatistics; color: string }) {
  const share = n_headlines > 0 ? n_fired / n_headlines : 0
  return (
    <Measure text={percent(share)} small={`${count(n_fired)} of ${count(n_headlines)}`}>
      <Bar share={share} color={color} />
    </Measure>
  )
}

function Auroc({ of: { auroc, auroc_low: low, auroc_high: high, auroc_q: q }, color }: { of: ClassStatistics; color: string }) {
  const interval = low !== null && high !== null ? `${low.toFixed(2)} to ${high.toFixed(2)}` : undefined
  return (
    <Measure text={auroc === null ? null : auroc.toFixed(2)} small={q === null ? interval : `${interval ?? ''} · q ${number(q)}`}>
      <Interval value={auroc ?? 0.5} low={low} high={high} from={0} to={1} line={0.5} color={color} />
    </Measure>
  )
}

function Effect({ of: { effect, effect_low: low, effect_high: high, effect_n: n }, reach, color }: {
  of: ClassStatistics
  reach: number
  color: string
}) {
  const parts = [low !== null && high !== null ? `${signed(low)} to ${signed(high)}` : '', n === null ? '' : `n ${count(n)}`]
  return (
    <Measure text={effect === null ? null : signed(effect)} small={parts.filter(Boolean).join(' · ') || undefined}>
      <Interval value={effect ?? 0} low={low} high={high} from={-1.06 * reach} to={1.06 * reach} line={0} color={color} />
    </Measure>
  )
}
