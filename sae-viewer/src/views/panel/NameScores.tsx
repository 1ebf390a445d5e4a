import { Figure } from '../../components/Figure'
import type { Run } from '../../interpAPI'
import { count, percent } from '../../lib/format'

const HEIGHT = 200
const [LEFT, RIGHT, TOP, BOTTOM] = [44, 8, 10, 42]
const LINES = {
  names: { label: 'found names', line: 'solid', stroke: 'stroke-plum', dash: undefined },
  shuffled: { label: 'names of other features', line: 'dotted', stroke: 'stroke-faint', dash: '2 3' },
  neurons: { label: 'neurons', line: 'dashed', stroke: 'stroke-ink', dash: '6 3' },
  pca: { label: 'principal components', line: 'dashed', stroke: 'stroke-faint', dash: '6 3' },
  'frozen decoder': { label: 'frozen decoder', line: 'dotted', stroke: 'stroke-ink', dash: '1 4' },
  'frozen encoder': { label: 'frozen encoder', line: 'dotted', stroke: 'stroke-faint', dash: '1 4' },
  'random model': { label: 'random model', line: 'dotted', stroke: 'stroke-ink', dash: '1 2' },
} as const

/** The held-out scores of the run's names, beside names of other features and names of neurons. */
export function NameScores({ run }: { run: Run }) {
  if (!run.names) return null
  const { scores, least_score, least_f1, n_testing } = run.names
  const shares = scores.map(({ histogram, n_scored }) => histogram.map((n) => n / Math.max(1, n_scored)))
  const top = Math.max(...shares.flat(), 0.01)
  return (
    <Figure
      title="How well names predict"
      name={`${run.run_id}-names`}
      aside={`median ${scores.map(({ kind, quartiles }) => `${quartiles?.[2]?.toFixed(2) ?? '–'} for ${LINES[kind].label} (${LINES[kind].line})`).join(', ')}`}
      caption={`The share of tested features by the AUROC of their best rule on ${count(n_testing)} headlines that were not used to find the rule. The medians stand above. A rule is a name if its AUROC is at least ${least_score}, its F1 is at least ${least_f1}, and the interval of its AUROC lies above 0.5: ${scores.map(({ kind, share_named }) => `${percent(share_named)} of ${kind === 'names' ? 'all features that fire' : LINES[kind].label}`).join(', ')}.`}
    >
      {(width, id) => {
        const x = (score: number) => LEFT + score * (width - LEFT - RIGHT)
        const y = (share: number) => TOP + (1 - share / top) * (HEIGHT - TOP - BOTTOM)
        const steps = (row: number[]) => row.map((share, bin) => `${bin === 0 ? 'M' : 'L'}${x(bin / 20)},${y(share)}H${x((bin + 1) / 20)}`).join('')
        return (
          <svg role="img" aria-labelledby={id} width={width} height={HEIGHT} className="block text-soft">
            <line x1={LEFT} x2={width - RIGHT} y1={HEIGHT - BOTTOM} y2={HEIGHT - BOTTOM} className="stroke-edge" />
            <line x1={x(least_score)} x2={x(least_score)} y1={TOP} y2={HEIGHT - BOTTOM} className="stroke-line" />
            {shares.map((row, i) => {
              const { stroke, dash } = LINES[scores[i]?.kind ?? 'names']
              return <path key={i} d={steps(row)} fill="none" strokeWidth={1.5} strokeDasharray={dash} className={stroke} />
            })}
            {[0, 0.25, 0.5, 0.75, 1].map((score) => (
              <text key={score} x={x(score)} y={HEIGHT - BOTTOM + 18} textAnchor={score === 0 ? 'start' : score === 1 ? 'end' : 'middle'} className="fill-current text-[12px]">
                {score}
              </text>
            ))}
            <text x={(LEFT + width - RIGHT) / 2} y={HEIGHT - 5} textAnchor="middle" className="fill-current text-[12px]">AUROC</text>
            <text transform={`translate(12 ${(HEIGHT - BOTTOM + TOP) / 2}) rotate(-90)`} textAnchor="middle" className="fill-current text-[12px]">share of features</text>
            <text x={LEFT - 6} y={y(top) + 10} textAnchor="end" className="fill-current text-[12px]">{percent(top)}</text>
            <text x={LEFT - 6} y={HEIGHT - BOTTOM} textAnchor="end" className="fill-current text-[12px]">0 %</text>
          </svg>
        )
      }}
    </Figure>
  )
}
