import { Link } from 'wouter'
import type { Headline } from '../../interpAPI'
import { classLook, className } from '../../lib/classes'
import { signed } from '../../lib/effects'
import { leastNamed, wordAt } from '../../lib/story'
import { FeatureCalled } from '../FeatureName'

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
  const effectOf = ({ effects: logits }: (typeof effects.features)[number]) => logits[prediction] ?? 0
  const least = leastNamed(effects.features.map(effectOf))
  const listed = effects.features.filter((one) => Math.abs(effectOf(one)) >= least).slice(0, first)
  const largest = Math.max(...listed.map((one) => Math.abs(effectOf(one))), 1e-9)
  const others = (effects.logits[prediction] ?? 0) - (effects.base[prediction] ?? 0) - listed.reduce((sum, one) => sum + effectOf(one), 0)
  return (
    <>
      {listed.map((one) => {
        const { feature, ablation_logits, ablation_probabilities, positions, position_effects } = one
        const effect = effectOf(one)
        const points = signed(-100 * (ablation_probabilities[prediction] ?? 0))
        return (
          <Link
            key={feature}
            href={href(feature)}
            className="chip"
            title={`Share of the ${name} logit: ${signed(effect)} (integrated gradients). If only this feature is ablated, the logit changes by ${signed(-(ablation_logits[prediction] ?? 0))}, and the probability of ${name} by ${points} percentage points.`}
            onPointerEnter={() => onLight(feature)}
            onPointerLeave={() => onLight(undefined)}
            onFocus={() => onLight(feature)}
            onBlur={() => onLight(undefined)}
          >
            <span className="font-semibold tabular-nums">{signed(effect)}</span>
            <span className="text-soft">{feature}</span>
            <FeatureCalled feature={feature} found={headline.found_names[feature]} word={wordAt(headline, positions, position_effects)} />
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
      <span className="text-xs text-soft tabular-nums" title={`Sum of the shares of all other features that fire here, for the ${name} logit.`}>
        {listed.length > 0 ? 'others together' : 'all features together'} {signed(others)}
      </span>
    </>
  )
}
