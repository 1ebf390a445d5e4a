import { Link } from 'wouter'
import { SHARED } from '../../base'
import type { Headline } from '../../interpAPI'
import { className } from '../../lib/classes'
import { percent } from '../../lib/format'
import { Word } from '../HeatText'
import { wordAt } from './EffectChips'
import { Faithfulness } from './Faithfulness'
import { Waterfall } from './Waterfall'

/** The causes of an open headline's prediction, from the run's `interventions.json`, and a link to the bench. */
export function HeadlineCauses({ headline, labels, href, benchHref, onLight }: {
  headline: Headline
  labels: readonly string[]
  href: (feature: number) => string
  benchHref: string
  onLight: (feature: number | undefined) => void
}) {
  const { effects, prediction } = headline
  const flipped = Boolean(effects?.flip ?? effects?.repair)
  const words = new Map(effects?.features.map(({ feature, positions, position_effects }) => [feature, wordAt(headline, positions, position_effects)]))
  return (
    <div className="mt-4 text-xs">
      <div className="flex flex-wrap items-center gap-x-5 gap-y-2">
        {SHARED === undefined && <Link href={benchHref} className="button !min-h-8">Edit on the bench</Link>}
        {effects && (
          <Faithfulness prediction={prediction} spliced={effects.spliced_prediction} deltaP={effects.spliced_delta_p} labels={labels} />
        )}
        {!effects && (
          <span className="text-faint">
            There are no causal findings for this headline. <code className="font-mono">python -m sae_pipeline intervene</code> adds them.
          </span>
        )}
      </div>
      {effects && (
        <div className={`mt-3 grid grid-cols-1 gap-x-8 gap-y-3 ${flipped ? 'xl:grid-cols-[minmax(0,1.6fr)_minmax(0,1fr)]' : ''}`}>
          <Waterfall causes={effects} index={prediction} labels={labels} words={words} href={href} onLight={onLight} />
          {flipped && (
            <div className="space-y-2">
              {effects.flip && <FlipLine title="Flip" path={effects.flip} labels={labels} words={words} href={href} />}
              {effects.repair && <FlipLine title="Flip to the true label" path={effects.repair} labels={labels} words={words} href={href} />}
            </div>
          )}
        </div>
      )}
    </div>
  )
}

type Path = NonNullable<NonNullable<Headline['effects']>['flip']>

/** The smallest set of features that was found to change the prediction, with the prediction after its ablation. */
function FlipLine({ title, path, labels, words, href }: {
  title: string
  path: Path
  labels: readonly string[]
  words: ReadonlyMap<number, string>
  href: (feature: number) => string
}) {
  const probability = path.path.at(-1)?.[path.prediction] ?? 0
  const n = path.features.length
  return (
    <section aria-label={title}>
      <h3 className="eyebrow">{title}</h3>
      <p className="text-soft">
        Ablating {n === 1 ? 'this feature' : `these ${n} features`} changes the prediction to {className(labels, path.prediction)} (
        {percent(probability)}):
      </p>
      <ul className="flex flex-wrap gap-x-3">
        {path.features.map((feature) => (
          <li key={feature}>
            <Link href={href(feature)} className="hover:underline">
              <span className="text-soft">{feature}</span> <Word>{words.get(feature) ?? ''}</Word>
            </Link>
          </li>
        ))}
      </ul>
    </section>
  )
}
