import type { ReactNode } from 'react'
import { ClassName } from '../../components/Outcome'
import type { ClassSplit, FeatureInfo } from '../../interpAPI'
import { classLook } from '../../lib/classes'
import { count, number, percent, signed } from '../../lib/format'
import { Bar, Interval } from './Interval'
import { Reading, Section } from './Section'

/** A feature within each true class: how often and how strongly it fires, what it tells, what it does. */
export function Classes({ info }: { info: FeatureInfo }) {
  const { classes, labels } = info
  const knows = (key: keyof ClassSplit) => classes.some((split) => split[key] !== null)
  const strongest = Math.max(0, ...classes.map(({ mean_max }) => mean_max ?? 0))
  const reach = Math.max(1e-12, ...classes.flatMap(({ effect, effect_low, effect_high }) => [effect, effect_low, effect_high].map((x) => Math.abs(x ?? 0))))
  const columns: [name: string, known: boolean, cell: (split: ClassSplit, color: string) => ReactNode][] = [
    ['fires on headlines', knows('n_fired'), (split, color) => <Fired split={split} color={color} />],
    ['mean of maxima (f)', knows('mean_max'), (split, color) => (
      <Measure text={split.mean_max === null ? null : number(split.mean_max)}>
        <Bar share={(split.mean_max ?? 0) / (strongest || 1)} color={color} />
      </Measure>
    )],
    ['AUROC', knows('auroc'), (split, color) => <Auroc split={split} color={color} />],
    ['effect (logit)', knows('effect'), (split, color) => <Effect split={split} reach={reach} color={color} />],
  ]
  const shown = columns.filter(([, known]) => known)
  if (shown.length === 0) return null
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
          {classes.map((split, label) => (
            <tr key={label} className="border-t border-line align-top max-sm:grid max-sm:grid-cols-2 max-sm:gap-x-4 max-sm:py-2 sm:first:border-line">
              <th scope="row" className="py-2 text-left font-normal max-sm:col-span-2 max-sm:py-1">
                <ClassName labels={labels} index={label} />
              </th>
              {shown.map(([name, , cell]) => (
                <td key={name} className="py-2 sm:pl-5 max-sm:py-1">
                  <span aria-hidden="true" className="text-faint sm:hidden">{name}</span>
                  {cell(split, classLook(labels, label).color)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      <Reading>
        {knows('auroc') &&
          'AUROC: how often a headline of the class has the higher maximum than one of another class; 0.5, the line, tells nothing. '}
        {knows('effect') && 'Effect: what the class’s logit owes to the feature, mean over the headlines tried; the line is 0. '}
        {(knows('auroc_low') || knows('effect_low')) && 'Whiskers are 95 % intervals over headlines.'}
      </Reading>
    </Section>
  )
}

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

function Fired({ split: { n_fired, n_headlines }, color }: { split: ClassSplit; color: string }) {
  const share = n_fired === null || !n_headlines ? 0 : n_fired / n_headlines
  return (
    <Measure
      text={n_fired === null ? null : n_headlines === null ? count(n_fired) : percent(share)}
      small={n_fired === null || n_headlines === null ? undefined : `${count(n_fired)} of ${count(n_headlines)}`}
    >
      {n_headlines !== null && <Bar share={share} color={color} />}
    </Measure>
  )
}

function Auroc({ split: { auroc, auroc_low: low, auroc_high: high, auroc_q: q }, color }: { split: ClassSplit; color: string }) {
  const interval = low !== null && high !== null ? `${low.toFixed(2)} to ${high.toFixed(2)}` : undefined
  return (
    <Measure text={auroc === null ? null : auroc.toFixed(2)} small={q === null ? interval : `${interval ?? ''} · q ${number(q)}`}>
      <Interval value={auroc ?? 0.5} low={low} high={high} from={0} to={1} line={0.5} color={color} />
    </Measure>
  )
}

function Effect({ split: { effect, effect_low: low, effect_high: high, effect_n: n }, reach, color }: {
  split: ClassSplit
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
