import { useState } from 'react'
import { Figure } from '../../components/Figure'
import { useUnit } from '../../hooks/useUnit'
import type { Histogram as Bins } from '../../interpAPI'
import { count, counted, number } from '../../lib/format'
import { heatStep } from '../../lib/heat'
import { logTicks } from '../../lib/scale'

const HEIGHT = 280
const LEFT = 52
const RIGHT = 8
const TOP = 12
const BOTTOM = 42

/** The histogram of a feature's activations, both axes logarithmic, with bars in the colours of the heat. */
export function Histogram({ histogram, feature }: { histogram: Bins; feature: number }) {
  const [pointed, setPointed] = useState<number>()
  const unit = useUnit()
  const { edges, counts } = histogram
  const filled = counts.flatMap((n, bin) => (n > 0 ? [bin] : []))
  const first = Math.max(0, (filled[0] ?? 0) - 1)
  const last = Math.min(counts.length - 1, (filled.at(-1) ?? 0) + 1)
  if (filled.length === 0) return null

  const low = Math.log10(edges[first] ?? 1)
  const high = Math.log10(edges[last + 1] ?? 10)
  const decades = Math.max(1, Math.ceil(Math.log10(Math.max(...counts) + 1)))
  // The height is log10(n + 1), so that one token is visible and no token has height 0.
  const highest = Math.log10(10 ** decades + 1)
  const y = (n: number) => TOP + (1 - Math.log10(n + 1) / highest) * (HEIGHT - TOP - BOTTOM)
  const total = counts.reduce((sum, n) => sum + n, 0)
  const max = edges[(filled.at(-1) ?? 0) + 1] ?? 1
  const bin = pointed === undefined ? undefined : { from: edges[pointed] ?? 0, to: edges[pointed + 1] ?? 0, n: counts[pointed] ?? 0 }

  return (
    <Figure
      title="Activations of this feature"
      name={`feature-${feature}-activations`}
      aside={bin ? `${counted(bin.n, unit)} with f from ${number(bin.from)} to ${number(bin.to)}` : `${counted(total, unit)} with f > 0`}
      caption={`Each bar counts the ${unit}s whose activation lies in its range. Those on which the feature is silent are left out; the top examples lie at the right end.`}
    >
      {(width, id) => {
        const x = (value: number) => LEFT + ((Math.log10(value) - low) / (high - low)) * (width - LEFT - RIGHT)
        return (
          <svg
            role="img"
            aria-labelledby={id}
            width={width}
            height={HEIGHT}
            className="block text-soft"
            onPointerLeave={() => setPointed(undefined)}
          >
            {Array.from({ length: decades + 1 }, (_, i) => 10 ** i).map((n) => (
              <g key={n}>
                <line x1={LEFT} x2={width - RIGHT} y1={y(n)} y2={y(n)} className="stroke-line" />
                <text x={LEFT - 8} y={y(n) + 4} textAnchor="end" className="fill-current text-[12px]">
                  {count(n)}
                </text>
              </g>
            ))}
            {counts.slice(first, last + 1).map((n, i) => {
              const at = first + i
              const from = x(edges[at] ?? 1)
              const to = x(edges[at + 1] ?? 1)
              const step = heatStep(((edges[at] ?? 0) + (edges[at + 1] ?? 0)) / 2, max)
              return (
                <g key={at} onPointerEnter={() => setPointed(at)}>
                  <rect x={from} y={TOP} width={to - from} height={HEIGHT - TOP - BOTTOM} fill="transparent" />
                  <rect
                    x={from + 0.5}
                    y={y(n)}
                    width={Math.max(1, to - from - 1)}
                    height={HEIGHT - BOTTOM - y(n)}
                    fill={`var(--heat-${step})`}
                    className={at === pointed ? 'stroke-ink' : 'stroke-plum/40'}
                    strokeWidth={n > 0 ? 1 : 0}
                  />
                </g>
              )
            })}
            <line x1={LEFT} x2={width - RIGHT} y1={HEIGHT - BOTTOM} y2={HEIGHT - BOTTOM} className="stroke-edge" />
            {logTicks(10 ** low, 10 ** high).map((value) => (
              <g key={value}>
                <line x1={x(value)} x2={x(value)} y1={HEIGHT - BOTTOM} y2={HEIGHT - BOTTOM + 4} className="stroke-edge" />
                <text x={x(value)} y={HEIGHT - BOTTOM + 18} textAnchor="middle" className="fill-current text-[12px]">
                  {value < 1 ? value : count(value)}
                </text>
              </g>
            ))}
            <text x={(LEFT + width - RIGHT) / 2} y={HEIGHT - 4} textAnchor="middle" className="fill-current text-[12px]">
              activation f (logarithmic)
            </text>
            <text transform={`translate(12 ${(HEIGHT - BOTTOM + TOP) / 2}) rotate(-90)`} textAnchor="middle" className="fill-current text-[12px]">
              {unit}s (logarithmic)
            </text>
          </svg>
        )
      }}
    </Figure>
  )
}
