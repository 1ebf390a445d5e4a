import { Faithfulness } from '../../components/causes/Faithfulness'
import { HeatLegend, HeatText, Word } from '../../components/HeatText'
import { useUnit, WHOLE } from '../../hooks/useUnit'
import type { Probe } from '../../interpAPI'
import { signed } from '../../lib/effects'
import { number } from '../../lib/format'
import { stretches, type Grain } from '../../lib/text'

/** How many words are listed with their effect. */
const WORDS = 6

/** The text as the classifier read it, with the heat of one feature and the words that matter most. */
export function TextAsRead({ probe, lit, grain, stale }: { probe: Probe; lit: number | undefined; grain: Grain; stale: boolean }) {
  const unit = useUnit()
  const fired = probe.features.find(({ feature }) => feature === lit) ?? probe.features[0]
  const max = fired ? Math.max(...fired.values) : 0
  const { spliced, prediction, probabilities, labels } = probe
  return (
    <section aria-label="The text as read" className={stale ? 'opacity-60' : ''}>
      <p className="headline">
        <HeatText prompt={probe} grain={grain} heat={fired && { positions: fired.positions, values: fired.values, max }} />
      </p>
      <div className="mt-1.5 flex flex-wrap items-center gap-x-5 gap-y-1 text-xs text-soft">
        {fired && fired.values.length > 0 && <HeatLegend max={max} what={`Feature ${fired.feature}`} />}
        <span className="tabular-nums">{number(probe.n_active)} features fire</span>
        {spliced && (
          <Faithfulness
            prediction={prediction}
            spliced={spliced.prediction}
            deltaP={(spliced.probabilities[prediction] ?? 0) - (probabilities[prediction] ?? 0)}
            labels={labels}
          />
        )}
      </div>
      {unit === 'headline' ? <p className="mt-1 text-xs text-soft">{WHOLE}</p> : <WordEffects probe={probe} />}
    </section>
  )
}

/** The words with the largest effect on the predicted logit: the sum over all features and the word's tokens. */
function WordEffects({ probe }: { probe: Probe }) {
  const words = stretches(probe)
    .filter(({ positions }) => positions.length > 0)
    .map(({ text, positions }) => ({
      text,
      position: positions[0],
      effect: positions.reduce((sum, position) => sum + (probe.token_effects[position] ?? 0), 0),
    }))
    .sort((one, other) => Math.abs(other.effect) - Math.abs(one.effect))
  return (
    <p className="mt-1 text-xs text-soft">
      Effect by word (logits):{' '}
      {words.slice(0, WORDS).map(({ text, position, effect }, i) => (
        <span key={position}>
          {i > 0 && ' · '}
          <Word className="text-ink">{text}</Word> <span className="tabular-nums">{signed(effect)}</span>
        </span>
      ))}
    </p>
  )
}
