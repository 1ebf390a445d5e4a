import { Link } from 'wouter'
import type { Headline } from '../../interpAPI'
import { className } from '../../lib/classes'
import { percent } from '../../lib/format'
import { Word } from '../HeatText'
import { wordAt } from './EffectChips'
import { Faithfulness } from './Faithfulness'
import { Waterfall } from './Waterfall'

/** Under an open headline: why this prediction, as the run's `interventions.json` has it, and the way to the bench. */
export function HeadlineCauses({ headline, labels, href, benchHref, onLight }: {
  headline: Headline
  labels: readonly string[]
  href: (feature: number) => string
  benchHref: string
  onLight: (feature: number | undefined) => void
}) {
  const { effects, prediction } = headline
  const turned = Boolean(effects?.flip ?? effects?.repair)
  const words = new Map(effects?.features.map(({ feature, positions, position_effects }) => [feature, wordAt(headline, positions, position_effects)]))
  return (
    <div className="mt-4 text-xs">
      <div className="flex flex-wrap items-center gap-x-5 gap-y-2">
        <Link href={benchHref} className="button !min-h-8">Edit on the bench</Link>
        {effects && (
          <Faithfulness prediction={prediction} spliced={effects.spliced_prediction} deltaP={effects.spliced_delta_p} labels={labels} />
        )}
        {!effects && (
          <span className="text-faint">
            Causes are not computed for this run: <code className="font-mono">python -m sae_pipeline intervene</code> adds them.
          </span>
        )}
      </div>
      {effects && (
        <div className={`mt-3 grid grid-cols-1 gap-x-8 gap-y-3 ${turned ? 'xl:grid-cols-[minmax(0,1.6fr)_minmax(0,1fr)]' : ''}`}>
          <Waterfall causes={effects} index={prediction} labels={labels} words={words} href={href} onLight={onLight} />
          {turned && (
            <div className="space-y-2">
              {effects.flip && <FlipLine title="Flips" path={effects.flip} labels={labels} words={words} href={href} />}
              {effects.repair && <FlipLine title="Repairs" path={effects.repair} labels={labels} words={words} href={href} />}
            </div>
          )}
        </div>
      )}
    </div>
  )
}

type Path = NonNullable<NonNullable<Headline['effects']>['flip']>

function FlipLine({ title, path, labels, words, href }: {
  title: 'Flips' | 'Repairs'
  path: Path
  labels: readonly string[]
  words: ReadonlyMap<number, string>
  href: (feature: number) => string
}) {
  const end = path.path.at(-1)?.[path.prediction] ?? 0
  return (
    <p>
      <span className="eyebrow">{title}:</span> without{' '}
      {path.features.map((feature, i) => (
        <span key={feature}>
          {i > 0 && ', '}
          <Link href={href(feature)} className="hover:underline">
            {feature} <Word>{words.get(feature) ?? ''}</Word>
          </Link>
        </span>
      ))}{' '}
      it is {className(labels, path.prediction)} ({percent(end)}).
    </p>
  )
}
