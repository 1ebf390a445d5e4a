import { Figure } from '../../components/Figure'
import type { DiffAnswer } from '../../interpAPI'
import { factor } from '../../lib/diff'
import { count } from '../../lib/format'
import { logTicks } from '../../lib/scale'

const HEIGHT = 250
const [LEFT, RIGHT, TOP, BOTTOM] = [52, 14, 12, 42]
const SHOWN = [-2, -1, 0, 1, 2] // growth, of which the axis names the factor

/** How many features grew and faded, from before to after and between two seeds, on a logarithmic scale of counts. */
export function GrowthChart({ file }: { file: DiffAnswer }) {
  const series = [
    { name: 'from before to after', bins: file.growth, colour: 'var(--color-plum)' },
    ...(file.growth_control ? [{ name: 'another seed alone', bins: file.growth_control, colour: 'var(--color-bullish)' }] : []),
  ]
  const edges = file.growth_edges
  const [low, high] = [edges[0] ?? -2, edges.at(-1) ?? 2]
  const most = Math.max(1, ...series.flatMap(({ bins }) => bins))
  return (
    <Figure
      title="How strong features became"
      name={`${file.run_id}-growth`}
      aside={
        <span className="inline-flex flex-wrap gap-x-3">
          {series.map(({ name, colour }) => (
            <span key={name} className="inline-flex items-center gap-1.5">
              <span className="h-2 w-2 rounded-full" style={{ background: colour }} />
              {name}
            </span>
          ))}
        </span>
      }
      caption={`Strength is the length of a feature’s direction in a model; the median feature is at × 1, and the outermost bins hold all that is beyond.${
        file.growth_control ? ' Where the first curve lies above the second, more features changed than between two seeds of fine-tuning.' : ''
      }`}
    >
      {(width, id) => {
        const x = (growth: number) => LEFT + ((growth - low) / (high - low)) * (width - LEFT - RIGHT)
        const y = (n: number) => TOP + (1 - Math.log10(Math.max(n, 0.5) / 0.5) / Math.log10(most / 0.5)) * (HEIGHT - TOP - BOTTOM)
        return (
          <svg role="img" aria-labelledby={id} width={width} height={HEIGHT} className="block text-soft">
            {logTicks(1, most, 4).map((level) => (
              <g key={level}>
                <line x1={LEFT} x2={width - RIGHT} y1={y(level)} y2={y(level)} className="stroke-line" />
                <text x={LEFT - 8} y={y(level) + 4} textAnchor="end" className="fill-current text-[12px]">{count(level)}</text>
              </g>
            ))}
            {series.map(({ name, bins, colour }) => (
              <path key={name} d={steps(bins, edges, x, y)} fill={colour} fillOpacity="0.12" stroke={colour} strokeWidth="2">
                <title>{name}</title>
              </path>
            ))}
            <line x1={LEFT} x2={width - RIGHT} y1={y(0)} y2={y(0)} className="stroke-edge" />
            {SHOWN.map((growth) => (
              <text key={growth} x={x(growth)} y={HEIGHT - BOTTOM + 18} textAnchor={growth === high ? 'end' : growth === low ? 'start' : 'middle'} className="fill-current text-[12px]">
                {factor(growth)}
              </text>
            ))}
            <text x={(LEFT + width - RIGHT) / 2} y={HEIGHT - 5} textAnchor="middle" className="fill-current text-[12px]">relative strength</text>
          </svg>
        )
      }}
    </Figure>
  )
}

/** The outline of a histogram. */
function steps(bins: readonly number[], edges: readonly number[], x: (growth: number) => number, y: (n: number) => number): string {
  const corners = bins.flatMap((n, i) => [
    [x(edges[i] ?? 0), y(n)],
    [x(edges[i + 1] ?? 0), y(n)],
  ])
  const ends = [[x(edges[0] ?? 0), y(0)], ...corners, [x(edges.at(-1) ?? 0), y(0)]]
  return `M${ends.map((point) => point.map((value) => value.toFixed(1)).join(' ')).join('L')}`
}
