import { useState } from 'react'
import { Figure } from '../../components/Figure'
import { useDensity } from '../../hooks/useDensity'
import { unitOf } from '../../hooks/useUnit'
import type { RunMetadata } from '../../interpAPI'
import { count, counted } from '../../lib/format'
import { ticks } from '../../lib/scale'

const HEIGHT = 260
const [LEFT, RIGHT, TOP, BOTTOM] = [52, 8, 10, 42]

/** The histogram of features over the share of tokens on which they fire, on a logarithmic axis. */
export function Density({ run }: { run: RunMetadata }) {
  const { data, error } = useDensity(run.run_id)
  const unit = unitOf(run)
  const [pointed, setPointed] = useState<number>()
  if (error && !data) return <p className="text-wrong">{error.message}</p>
  if (!data) return <span className="skeleton block h-80" />
  const { edges, counts, n_dead: dead } = data
  // The edges are log10 of the share.
  const filled = counts.flatMap((value, bin) => (value > 0 ? [bin] : []))
  const low = Math.floor(edges[filled[0] ?? 0] ?? -6)
  const high = Math.ceil(edges[(filled.at(-1) ?? 0) + 1] ?? 0)
  const live = counts.reduce((sum, n) => sum + n, 0)
  const levels = ticks(0, Math.max(1, ...counts), 4)
  const top = levels.at(-1) ?? 1
  const n = pointed === undefined ? 0 : (counts[pointed] ?? 0)
  return (
    <Figure
      title="How often features fire"
      name={`${run.run_id}-density`}
      aside={
        pointed === undefined
          ? `${counted(live, 'live feature')}${dead > 0 ? `, ${count(dead)} never fire in this run` : ''}`
          : `${counted(n, 'feature')} on ${share(edges[pointed] ?? 0)} to ${share(edges[pointed + 1] ?? 0)} of ${unit}s`
      }
      caption={`Each bar counts the features that fire on this share of the run’s counted ${unit}s. Features that never fire are left out.`}
    >
      {(width, id) => {
        const x = (exponent: number) => LEFT + ((exponent - low) / (high - low || 1)) * (width - LEFT - RIGHT)
        const y = (value: number) => TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM)
        return (
          <svg role="img" aria-labelledby={id} width={width} height={HEIGHT} className="block text-soft" onPointerLeave={() => setPointed(undefined)}>
            {levels.map((level) => (
              <g key={level}>
                <line x1={LEFT} x2={width - RIGHT} y1={y(level)} y2={y(level)} className="stroke-line" />
                <text x={LEFT - 8} y={y(level) + 4} textAnchor="end" className="fill-current text-[12px]">{count(level)}</text>
              </g>
            ))}
            {filled.map((bin) => {
              const value = counts[bin] ?? 0
              const from = x(edges[bin] ?? 0)
              const to = x(edges[bin + 1] ?? 0)
              return (
                <g key={bin} onPointerEnter={() => setPointed(bin)}>
                  <rect x={from} y={TOP} width={Math.max(0, to - from)} height={HEIGHT - TOP - BOTTOM} fill="transparent" />
                  <rect x={from + 0.5} y={y(value)} width={Math.max(1, to - from - 1)} height={HEIGHT - BOTTOM - y(value)} className={bin === pointed ? 'fill-plum' : 'fill-bar'} />
                </g>
              )
            })}
            <line x1={LEFT} x2={width - RIGHT} y1={HEIGHT - BOTTOM} y2={HEIGHT - BOTTOM} className="stroke-edge" />
            {Array.from({ length: high - low + 1 }, (_, i) => low + i).map((exponent) => (
              <text key={exponent} x={x(exponent)} y={HEIGHT - BOTTOM + 18} textAnchor={exponent === high ? 'end' : 'middle'} className="fill-current text-[12px]">
                {share(exponent)}
              </text>
            ))}
            <text x={(LEFT + width - RIGHT) / 2} y={HEIGHT - 5} textAnchor="middle" className="fill-current text-[12px]">share of {unit}s (logarithmic)</text>
            <text transform={`translate(12 ${(HEIGHT - BOTTOM + TOP) / 2}) rotate(-90)`} textAnchor="middle" className="fill-current text-[12px]">features</text>
          </svg>
        )
      }}
    </Figure>
  )
}

/** 10^exponent as a percentage with two significant digits. */
function share(exponent: number): string {
  return `${Number((100 * 10 ** exponent).toPrecision(2))} %`
}
