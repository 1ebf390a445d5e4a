import { Figure } from '../../components/Figure'
import { percent } from '../../lib/format'
import { ends, range, type LayerChart } from '../../lib/layers'
import { ticks } from '../../lib/scale'

const HEIGHT = 230
const [LEFT, RIGHT, TOP, BOTTOM] = [52, 12, 12, 42]
/** The colour, the dashes and the marks of the first line of a chart, and of the second. */
const style = (n: number) =>
  n === 0 ? { colour: 'var(--color-plum)', dashes: undefined, square: false } : { colour: 'var(--color-bullish)', dashes: '5 3', square: true }

/** Figures by layer as lines with intervals; a band marks the layer of the run. */
export function LayerLines({ chart, own, name }: { chart: LayerChart; own: number; name: string }) {
  const { title, caption, lines, rules } = chart
  const layers = [...new Set(lines.flatMap(({ points }) => points.map(({ layer }) => layer)))].sort((one, other) => one - other)
  const levels = ticks(...range(chart), 4).filter((level) => level >= 0)
  const [bottom, top] = [levels[0] ?? 0, Math.max(levels.at(-1) ?? 1, (levels[0] ?? 0) + 0.01)]
  const first = layers[0] ?? 0
  const span = Math.max((layers.at(-1) ?? 0) - first, 1)
  return (
    <Figure title={title} name={name} caption={caption} aside={<Legend names={lines.map((line) => line.name)} />}>
      {(width, id) => {
        const x = (layer: number) => LEFT + 14 + ((layer - first) / span) * (width - LEFT - RIGHT - 28)
        const y = (share: number) => TOP + (1 - (Math.max(share, bottom) - bottom) / (top - bottom)) * (HEIGHT - TOP - BOTTOM)
        return (
          <svg role="img" aria-labelledby={id} width={width} height={HEIGHT} className="block text-soft">
            {layers.includes(own) && <rect x={x(own) - 11} y={TOP} width={22} height={HEIGHT - TOP - BOTTOM} className="fill-sunk" />}
            {levels.map((level) => (
              <g key={level}>
                <line x1={LEFT} x2={width - RIGHT} y1={y(level)} y2={y(level)} className="stroke-line" />
                <text x={LEFT - 8} y={y(level) + 4} textAnchor="end" className="fill-current text-[12px]">{`${Number((100 * level).toPrecision(3))} %`}</text>
              </g>
            ))}
            {rules.map((rule) => (
              <line key={rule.name} x1={LEFT} x2={width - RIGHT} y1={y(rule.level)} y2={y(rule.level)} stroke="currentColor" strokeDasharray="1 4" strokeWidth="2">
                <title>{`${rule.name}: ${percent(rule.level)}`}</title>
              </line>
            ))}
            {lines.map((line, n) => {
              const { colour, dashes, square } = style(n)
              const at = (layer: number) => x(layer) + (lines.length > 1 ? 3 * (2 * n - 1) : 0) // beside the other line, where both have the same value
              return (
                <g key={line.name} style={{ color: colour }}>
                  <polyline points={line.points.map(({ layer, measured }) => `${at(layer)},${y(measured.value)}`).join(' ')} fill="none" stroke="currentColor" strokeWidth="1.5" strokeDasharray={dashes} />
                  {line.points.map(({ layer, measured }) => (
                    <g key={layer}>
                      <title>{`layer ${layer}, ${line.name}: ${percent(measured.value)}${measured.low == null ? '' : ` (${ends(measured)})`}`}</title>
                      {measured.low != null && measured.high != null && <line x1={at(layer)} x2={at(layer)} y1={y(measured.low)} y2={y(measured.high)} stroke="currentColor" strokeWidth="1.5" />}
                      {square ? (
                        <rect x={at(layer) - 4} y={y(measured.value) - 4} width="8" height="8" fill="currentColor" />
                      ) : (
                        <circle cx={at(layer)} cy={y(measured.value)} r="4.5" fill="currentColor" />
                      )}
                    </g>
                  ))}
                </g>
              )
            })}
            {layers.map((layer) => (
              <text key={layer} x={x(layer)} y={HEIGHT - BOTTOM + 18} textAnchor="middle" className="fill-current text-[12px]">{layer}</text>
            ))}
            <line x1={LEFT} x2={width - RIGHT} y1={HEIGHT - BOTTOM} y2={HEIGHT - BOTTOM} className="stroke-edge" />
            <text x={(LEFT + width - RIGHT) / 2} y={HEIGHT - 5} textAnchor="middle" className="fill-current text-[12px]">layer</text>
          </svg>
        )
      }}
    </Figure>
  )
}

function Legend({ names }: { names: string[] }) {
  return (
    <span className="inline-flex flex-wrap gap-x-3">
      {names.map((name, n) => {
        const { colour, square } = style(n)
        return (
          <span key={name} className="inline-flex items-center gap-1.5">
            <span className={`h-2 w-2 ${square ? '' : 'rounded-full'}`} style={{ background: colour }} />
            {name}
          </span>
        )
      })}
    </span>
  )
}
