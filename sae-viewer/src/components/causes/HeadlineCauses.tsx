import { Link } from 'wouter'
import { MAY_HAVE_BENCH } from '../../base'
import { useCauses } from '../../hooks/useCauses'
import type { Headline, Unflipped } from '../../interpAPI'
import { className } from '../../lib/classes'
import { trust } from '../../lib/effects'
import { percent } from '../../lib/format'
import { wordAt } from '../../lib/story'
import { FeatureCalled } from '../FeatureName'
import { Faithfulness } from './Faithfulness'
import { Held } from './Held'
import { JointAblation } from './JointAblation'
import { Story } from './Story'
import { Waterfall } from './Waterfall'
import { WordAttributions } from './WordAttributions'

/** The causes of an open headline's prediction, from the run's `interventions.json`, and a link to the bench. */
export function HeadlineCauses({ headline, run, labels, href, benchHref, onLight }: {
  headline: Headline
  run: string
  labels: readonly string[]
  href: (feature: number) => string
  benchHref: string
  onLight: (feature: number | undefined) => void
}) {
  const { effects, prediction } = headline
  const agreement = useCauses(effects ? run : undefined).data?.agreement
  const words = new Map(effects?.features.map(({ feature, positions, position_effects }) => [feature, wordAt(headline, positions, position_effects)]))
  const paths = [
    ...(effects?.flip ? [{ title: 'Smallest change of the prediction', path: effects.flip }] : []),
    ...(effects?.repair ? [{ title: 'Smallest change to the true label', path: effects.repair }] : []),
  ].filter(({ path }, i, all) => all.findIndex((one) => String(one.path.features) === String(path.features)) === i)
  const held = [
    ...(effects?.unflipped ? [{ title: 'Why no flip was found', goal: undefined, held: effects.unflipped }] : []),
    ...(effects?.unrepaired ? [{ title: 'Why no change to the true label was found', goal: headline.label, held: effects.unrepaired }] : []),
  ].filter(({ held: one }, i, all) => all.findIndex((other) => alike(other.held) === alike(one)) === i)
  const aside = paths.length + held.length > 0 || effects?.word_effects
  return (
    <div className="mt-3 text-xs">
      {effects && <Story headline={headline} labels={labels} href={href} onLight={onLight} className="text-base leading-6" />}
      <div className="mt-3 flex flex-wrap items-center gap-x-5 gap-y-2">
        {MAY_HAVE_BENCH && <Link href={benchHref} className="button !min-h-8">Try on the bench</Link>}
        {effects && (
          <Faithfulness prediction={prediction} spliced={effects.spliced_prediction} deltaP={effects.spliced_delta_p} labels={labels} />
        )}
        {!effects && (
          <span className="text-faint">
            There are no causal findings for this headline. <code className="font-mono">python -m sae_pipeline intervene --max-headlines none</code> adds them for all.
          </span>
        )}
      </div>
      {effects && (
        <div className={`mt-4 grid grid-cols-1 gap-x-10 gap-y-5 ${aside ? 'xl:grid-cols-[minmax(0,1.6fr)_minmax(0,1fr)]' : ''}`}>
          <div className="min-w-0">
            <Waterfall
              causes={{ ...effects, features: effects.features.map((one) => ({ ...one, alone: one.ablation_logits })) }}
              index={prediction}
              labels={labels}
              words={words}
              found={headline.found_names}
              agreement={agreement && trust(agreement)}
              href={href}
              onLight={onLight}
            />
            <JointAblation effects={effects} index={prediction} labels={labels} href={href} />
          </div>
          <div className="min-w-0 space-y-4 empty:hidden">
            {paths.map(({ title, path }) => (
              <FlipLine key={title} title={title} path={path} headline={headline} labels={labels} words={words} href={href} onLight={onLight} />
            ))}
            {held.map((one) => (
              <Held key={one.title} {...one} headline={headline} labels={labels} href={href} onLight={onLight} />
            ))}
            <WordAttributions headline={headline} labels={labels} />
          </div>
        </div>
      )}
    </div>
  )
}

/** What is said of two searches alike, but for their margins. */
const alike = ({ reason, n_needed, clamped }: Unflipped) => JSON.stringify([reason, n_needed, clamped?.features])

type Path = NonNullable<NonNullable<Headline['effects']>['flip']>

/** The smallest set of features that was found to change the prediction, with the prediction after its ablation. */
function FlipLine({ title, path, headline, labels, words, href, onLight }: {
  title: string
  path: Path
  headline: Headline
  labels: readonly string[]
  words: ReadonlyMap<number, string>
  href: (feature: number) => string
  onLight: (feature: number | undefined) => void
}) {
  const probability = path.path.at(-1)?.[path.prediction] ?? 0
  const n = path.features.length
  return (
    <section aria-label={title}>
      <h3 className="eyebrow">{title}</h3>
      <p className="text-soft">
        Ablating {n === 1 ? 'this feature' : `these ${n} features`} changes the prediction to <bdi className="font-semibold">{className(labels, path.prediction)}</bdi> (
        {percent(probability)}):
      </p>
      <ul className="mt-1 flex flex-wrap gap-x-4">
        {path.features.map((feature) => (
          <li key={feature} className="max-w-full" onPointerEnter={() => onLight(feature)} onPointerLeave={() => onLight(undefined)}>
            <Link href={href(feature)} className="flex min-w-0 gap-1 hover:underline">
              <span className="text-soft">{feature}</span>
              <FeatureCalled feature={feature} found={headline.found_names[feature]} word={words.get(feature) || undefined} />
            </Link>
          </li>
        ))}
      </ul>
    </section>
  )
}
