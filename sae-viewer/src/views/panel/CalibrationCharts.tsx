import { Figure } from '../../components/Figure'
import type { CalibrationAnswer } from '../../interpAPI'
import { percent } from '../../lib/format'
import { ticks } from '../../lib/scale'

const HEIGHT = 250
const [LEFT, RIGHT, TOP, BOTTOM] = [52, 14, 12, 42]
type Ranking = CalibrationAnswer['rankings'][number]

/** The names of the signals that order the headlines. */
export const SIGNALS: Record<Ranking['signal'], string> = { confidence: 'confidence', features: 'features', both: 'confidence and features' }
const LINES: Record<Ranking['signal'], { colour: string; dashes?: string }> = {
  confidence: { colour: 'var(--color-plum)' },
  features: { colour: 'var(--color-bearish)', dashes: '2 4' },
  both: { colour: 'var(--color-bullish)', dashes: '6 3' },
}

/** How often predictions of about the same confidence are right, before and after the temperature. */
export function ReliabilityChart({ file, name }: { file: CalibrationAnswer; name: string }) {
  const series = [
    { name: 'as it is', bins: file.before.bins, colour: 'var(--color-plum)', after: false },
    { name: 'with the temperature', bins: file.after.bins, colour: 'var(--color-bullish)', after: true },
  ]
  const bottom = ticks(Math.min(...series.flatMap(({ bins }) => bins.flatMap(({ confidence, low }) => [confidence, low]))), 1, 4)[0] ?? 0
  const levels = ticks(bottom, 1, 4).filter((level) => level <= 1)
  return (
    <Figure
      title="Confidence and accuracy"
      name={name}
      aside={<Legend entries={series} />}
      caption="Each mark is a tenth of the headlines, with neighbouring confidence. On the dotted line, headlines with a confidence of four fifths are right in four fifths of the cases. Bars are 95 % intervals."
    >
      {(width, id) => {
        const x = (share: number) => LEFT + ((share - bottom) / (1 - bottom)) * (width - LEFT - RIGHT)
        const y = (share: number) => TOP + (1 - (share - bottom) / (1 - bottom)) * (HEIGHT - TOP - BOTTOM)
        return (
          <svg role="img" aria-labelledby={id} width={width} height={HEIGHT} className="block text-soft">
            <Levels levels={levels} y={y} width={width} />
            <line x1={x(bottom)} y1={y(bottom)} x2={x(1)} y2={y(1)} stroke="currentColor" strokeDasharray="1 4" strokeWidth="2" />
            {series.map(({ name, bins, colour, after }) => (
              <g key={name} style={{ color: colour }}>
                {bins.map((bin, n) => (
                  <g key={n}>
                    <title>{`${name}: confidence ${percent(bin.confidence)}, right ${percent(bin.accuracy)} (${percent(bin.low)} to ${percent(bin.high)}), ${bin.n_headlines} headlines`}</title>
                    <line x1={x(bin.confidence)} x2={x(bin.confidence)} y1={y(bin.low)} y2={y(bin.high)} stroke="currentColor" strokeOpacity="0.6" strokeWidth="1.5" />
                    {after ? (
                      <rect x={x(bin.confidence) - 4} y={y(bin.accuracy) - 4} width="8" height="8" fill="currentColor" />
                    ) : (
                      <circle cx={x(bin.confidence)} cy={y(bin.accuracy)} r="4.5" fill="currentColor" />
                    )}
                  </g>
                ))}
              </g>
            ))}
            <Shares shares={levels} x={x} width={width} label="confidence" />
          </svg>
        )
      }}
    </Figure>
  )
}

/** The error rate among the headlines that are answered, by their share, for each order of the headlines. */
export function RiskCoverage({ file, name }: { file: CalibrationAnswer; name: string }) {
  const levels = ticks(0, Math.max(0.01, ...file.rankings.flatMap((ranking) => ranking.error_rates)), 4)
  const top = levels.at(-1) ?? 1
  const least = Math.min(...file.coverages)
  return (
    <Figure
      title="Errors when some headlines are left unanswered"
      name={name}
      aside={<Legend entries={file.rankings.map(({ signal }) => ({ name: SIGNALS[signal], colour: LINES[signal].colour }))} />}
      caption="The error rate among the surest headlines. Confidence is the highest probability; features: how much of the support for a prediction comes from doubtful features."
    >
      {(width, id) => {
        const x = (share: number) => LEFT + ((share - least) / Math.max(1 - least, 0.01)) * (width - LEFT - RIGHT)
        const y = (rate: number) => TOP + (1 - rate / top) * (HEIGHT - TOP - BOTTOM)
        return (
          <svg role="img" aria-labelledby={id} width={width} height={HEIGHT} className="block text-soft">
            <Levels levels={levels} y={y} width={width} />
            {file.rankings.map(({ signal, error_rates: rates }) => (
              <polyline
                key={signal}
                points={rates.map((rate, n) => `${x(file.coverages[n] ?? 1)},${y(rate)}`).join(' ')}
                fill="none"
                stroke={LINES[signal].colour}
                strokeWidth="2"
                strokeDasharray={LINES[signal].dashes}
              >
                <title>{SIGNALS[signal]}</title>
              </polyline>
            ))}
            <Shares shares={ticks(0, 1, 5).filter((share) => share >= least)} x={x} width={width} label="headlines that are answered" />
          </svg>
        )
      }}
    </Figure>
  )
}

function Levels({ levels, y, width }: { levels: number[]; y: (level: number) => number; width: number }) {
  return levels.map((level) => (
    <g key={level}>
      <line x1={LEFT} x2={width - RIGHT} y1={y(level)} y2={y(level)} className="stroke-line" />
      <text x={LEFT - 8} y={y(level) + 4} textAnchor="end" className="fill-current text-[12px]">{short(level)}</text>
    </g>
  ))
}

/** The axis below a chart. */
function Shares({ shares, x, width, label }: { shares: number[]; x: (share: number) => number; width: number; label: string }) {
  return (
    <>
      <line x1={LEFT} x2={width - RIGHT} y1={HEIGHT - BOTTOM} y2={HEIGHT - BOTTOM} className="stroke-edge" />
      {shares.map((share) => (
        <text key={share} x={x(share)} y={HEIGHT - BOTTOM + 18} textAnchor={share === 1 ? 'end' : 'middle'} className="fill-current text-[12px]">{short(share)}</text>
      ))}
      <text x={(LEFT + width - RIGHT) / 2} y={HEIGHT - 5} textAnchor="middle" className="fill-current text-[12px]">{label}</text>
    </>
  )
}

function Legend({ entries }: { entries: { name: string; colour: string }[] }) {
  return (
    <span className="inline-flex flex-wrap gap-x-3">
      {entries.map(({ name, colour }) => (
        <span key={name} className="inline-flex items-center gap-1.5">
          <span className="h-2 w-2 rounded-full" style={{ background: colour }} />
          {name}
        </span>
      ))}
    </span>
  )
}

const short = (share: number) => `${Number((100 * share).toPrecision(3))} %`
