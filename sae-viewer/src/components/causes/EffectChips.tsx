import { Link } from 'wouter'
import type { Headline } from '../../interpAPI'
import { classLook, className } from '../../lib/classes'
import { signed } from '../../lib/effects'
import { stretches } from '../../lib/text'
import { Word } from '../HeatText'

/** A headline's features by their signed effect on the predicted logit: a filled line is for the class, a hollow one against it. */
export function EffectChips({ headline, labels, first, href, onLight }: {
  headline: Headline
  labels: readonly string[]
  first: number
  href: (feature: number) => string
  onLight: (feature: number | undefined) => void
}) {
  const { effects, prediction } = headline
  if (!effects) return null
  const { color } = classLook(labels, prediction)
  const name = className(labels, prediction)
  const listed = effects.features.slice(0, first)
  const largest = Math.max(...listed.map(({ effects: logits }) => Math.abs(logits[prediction] ?? 0)), 1e-9)
  return (
    <>
      {listed.map(({ feature, effects: logits, ablation_logits, ablation_probabilities, positions, position_effects }) => {
        const effect = logits[prediction] ?? 0
        const points = signed(-100 * (ablation_probabilities[prediction] ?? 0))
        return (
          <Link
            key={feature}
            href={href(feature)}
            className="chip"
            title={`Effect on the ${name} logit: ${signed(effect)} by integrated gradients, ${signed(ablation_logits[prediction] ?? 0)} by ablation. Ablation changes p(${name}) by ${points} points.`}
            onPointerEnter={() => onLight(feature)}
            onPointerLeave={() => onLight(undefined)}
            onFocus={() => onLight(feature)}
            onBlur={() => onLight(undefined)}
          >
            <span className="font-semibold tabular-nums">{signed(effect)}</span>
            <span className="text-soft">{feature}</span>
            <Word className="truncate">{wordAt(headline, positions, position_effects)}</Word>
            <span
              aria-hidden="true"
              className="absolute bottom-0 left-0 h-[3px] border-t"
              style={{
                width: `${(100 * Math.abs(effect)) / largest}%`,
                borderColor: color,
                backgroundColor: effect < 0 ? 'transparent' : color,
              }}
            />
          </Link>
        )
      })}
    </>
  )
}

/** The word, as written, on which a feature has its largest effect. */
export function wordAt(headline: Headline, positions: readonly number[], effects: readonly number[]): string {
  const sizes = effects.map(Math.abs)
  const strongest = positions[sizes.indexOf(Math.max(...sizes))] ?? -1
  return stretches(headline).find((part) => part.positions.includes(strongest))?.text ?? ''
}
