import { Figure } from '../../components/Figure'
import { number } from '../../lib/format'
import { logTicks, ticks } from '../../lib/scale'
import { placeLabels, type Series } from './fidelityPoints'

const HEIGHT = 272
const [LEFT, RIGHT, TOP, BOTTOM] = [52, 14, 26, 42] // room for the name above the highest mark
/** The colours of the runs, in order. */
const COLOURS = ['var(--color-plum)', 'var(--color-bullish)', 'var(--color-bearish)', 'var(--color-class-2)']

/** Sparsity against reconstruction, one pair of marks per SAE; lower left is better. */
export function Fidelity({ series, name }: { series: Series[]; name: string }) {
  const all = series.flatMap(({ points }) => points.flatMap(({ train, held_out }) => [train, held_out]))
  const l0s = all.map(({ l0 }) => Math.max(l0, 1e-3))
  const low = Math.min(...l0s) / 1.12
  const high = Math.max(...l0s) * 1.12
  const fvus = all.map(({ fvu }) => fvu)
  const levels = ticks(Math.min(...fvus), Math.max(...fvus), 4)
  const bottom = levels[0] ?? 0
  const top = Math.max(levels.at(-1) ?? 1, bottom + 0.01)
  return (
    <Figure
      title="Sparsity and reconstruction"
      name={name}
      aside={series.length > 1 && <Legend series={series} />}
      caption="Each SAE has a filled mark for held-out headlines and a hollow one for train; a ring marks the shown SAE. Left is sparser, lower reconstructs better."
    >
      {(width, id) => {
        const x = (l0: number) => LEFT + (Math.log(Math.max(l0, 1e-3) / low) / Math.log(high / low)) * (width - LEFT - RIGHT)
        const y = (fvu: number) => TOP + (1 - (fvu - bottom) / (top - bottom)) * (HEIGHT - TOP - BOTTOM)
        const marks = series.flatMap(({ points }) => points.map(({ held_out }) => ({ x: x(held_out.l0), y: y(held_out.fvu) })))
        const labels = placeLabels(marks)
        return (
          <svg role="img" aria-labelledby={id} width={width} height={HEIGHT} className="block text-soft">
            {levels.map((level) => (
              <g key={level}>
                <line x1={LEFT} x2={width - RIGHT} y1={y(level)} y2={y(level)} className="stroke-line" />
                <text x={LEFT - 8} y={y(level) + 4} textAnchor="end" className="fill-current text-[12px]">{level}</text>
              </g>
            ))}
            {axis(low, high).map((value) => (
              <text key={value} x={x(value)} y={HEIGHT - BOTTOM + 18} textAnchor="middle" className="fill-current text-[12px]">{Number(value.toPrecision(3))}</text>
            ))}
            <line x1={LEFT} x2={width - RIGHT} y1={HEIGHT - BOTTOM} y2={HEIGHT - BOTTOM} className="stroke-edge" />
            {series.map(({ run, points }, i) => (
              <g key={run} style={{ color: COLOURS[i % COLOURS.length] }}>
                {points.map(({ size, own, train, held_out }) => (
                  <g key={size}>
                    <title>{`${run} ${size}: L0 ${number(held_out.l0)}, FVU ${number(held_out.fvu)} held out; ${number(train.l0)}, ${number(train.fvu)} on train`}</title>
                    <line x1={x(train.l0)} y1={y(train.fvu)} x2={x(held_out.l0)} y2={y(held_out.fvu)} stroke="currentColor" strokeOpacity="0.5" />
                    <circle cx={x(train.l0)} cy={y(train.fvu)} r="4" fill="var(--color-paper)" stroke="currentColor" strokeWidth="1.5" />
                    <circle cx={x(held_out.l0)} cy={y(held_out.fvu)} r="4.5" fill="currentColor" />
                    {own && <circle cx={x(held_out.l0)} cy={y(held_out.fvu)} r="8" fill="none" stroke="currentColor" strokeWidth="1.5" />}
                  </g>
                ))}
              </g>
            ))}
            {series.flatMap(({ points }) => points).map(({ size }, i) => (
              <text
                key={i}
                x={(marks[i]?.x ?? 0) + (labels[i]?.dx ?? 0)}
                y={(marks[i]?.y ?? 0) + (labels[i]?.dy ?? 0)}
                textAnchor={labels[i]?.anchor}
                className="fill-ink text-[12px]"
              >
                {size}
              </text>
            ))}
            <text x={(LEFT + width - RIGHT) / 2} y={HEIGHT - 5} textAnchor="middle" className="fill-current text-[12px]">L0, active features per token (logarithmic)</text>
            <text transform={`translate(12 ${(HEIGHT - BOTTOM + TOP) / 2}) rotate(-90)`} textAnchor="middle" className="fill-current text-[12px]">FVU</text>
          </svg>
        )
      }}
    </Figure>
  )
}

/** Ticks of the L0 axis: logarithmic, or evenly spaced where those would be fewer than three. */
function axis(low: number, high: number): number[] {
  const found = logTicks(low, high)
  return found.length >= 3 ? found : ticks(low, high, 5).filter((value) => value > low && value < high)
}

function Legend({ series }: { series: Series[] }) {
  return (
    <span className="inline-flex flex-wrap gap-x-3">
      {series.map(({ run }, i) => (
        <span key={run} className="inline-flex items-center gap-1.5">
          <span className="h-2 w-2 rounded-full" style={{ background: COLOURS[i % COLOURS.length] }} />
          {run}
        </span>
      ))}
    </span>
  )
}
