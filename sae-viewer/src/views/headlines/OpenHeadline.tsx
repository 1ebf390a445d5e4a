import { FeatureChip, firingWords } from '../../components/FeatureChip'
import { useFoldedClasses } from '../../components/FoldedClasses'
import { HeatLegend, Word } from '../../components/HeatText'
import { ClassName } from '../../components/Outcome'
import { useLook } from '../../hooks/useLooks'
import { useUnit, WHOLE } from '../../hooks/useUnit'
import type { FiredFeature, Headline } from '../../interpAPI'
import { number, percent } from '../../lib/format'
import { HeadlineExport } from './HeadlineExport'
import { SimilarHeadlines } from './SimilarHeadlines'

/** The part of an open headline below its causes: all its features, its probabilities, similar headlines. */
export function OpenHeadline({ headline, run, labels, lit, asked, featureHref, headlineHref, onPoint, onLit, onClose }: {
  headline: Headline
  run: string
  labels: readonly string[]
  /** The feature whose heat is shown. */
  lit: FiredFeature | undefined
  /** The feature that the address asks for. */
  asked: number | undefined
  featureHref: (feature: number) => string
  headlineHref: (headline: number) => string
  onPoint: (feature: number | undefined) => void
  onLit: (feature: number) => void
  onClose: () => void
}) {
  const [classes, toggle] = useFoldedClasses(labels, headline.probabilities)
  const saved = lit ?? headline.features[0]
  const unit = useUnit()
  useLook('headlines', headline.headline_id)
  return (
    <div className="mt-3">
      {headline.effects && <h3 className="eyebrow mt-5 mb-1">Features with the strongest activation, which need not be causes</h3>}
      <ol aria-label="Strongest features" className="border-t border-line" onPointerLeave={() => onPoint(undefined)}>
        {headline.features.map((fired) => (
          <FeatureLine
            key={fired.feature}
            headline={headline}
            fired={fired}
            isLit={fired === lit}
            href={featureHref(fired.feature)}
            onPoint={onPoint}
            onLit={onLit}
          />
        ))}
      </ol>
      {asked !== undefined && !headline.features.some(({ feature }) => feature === asked) && (
        <p className="mt-2.5 text-xs text-soft">
          Feature {asked} is not among the strongest features of this headline, and the run keeps only their activations.
        </p>
      )}
      <div className="mt-2.5 flex flex-wrap items-center gap-x-6 gap-y-2 text-xs text-soft">
        {lit && lit.values.length > 0 && <HeatLegend max={Math.max(...lit.values)} what={`Feature ${lit.feature}`} />}
        {unit === 'headline' && <span className="w-full">{WHOLE}</span>}
        <span role="group" aria-label="Probabilities" className="flex min-w-0 flex-wrap gap-x-3">
          {classes.map((index) => (
            <span key={index} className="inline-flex max-w-full gap-1.5">
              <ClassName labels={labels} index={index} />
              <span className="whitespace-nowrap tabular-nums">{percent(headline.probabilities[index] ?? 0)}</span>
            </span>
          ))}
          {toggle}
        </span>
        {saved && <HeadlineExport headline={headline} lit={saved} run={run} labels={labels} />}
        <button type="button" data-row className="quiet" aria-expanded onClick={onClose}>
          Show fewer
        </button>
      </div>
      <SimilarHeadlines run={run} headline={headline.headline} labels={labels} href={headlineHref} />
    </div>
  )
}

/** A feature with its activation as a bar and the words on which it fires. */
function FeatureLine({ headline, fired, isLit, href, onPoint, onLit }: {
  headline: Headline
  fired: FiredFeature
  isLit: boolean
  href: string
  onPoint: (feature: number | undefined) => void
  onLit: (feature: number) => void
}) {
  const strongest = headline.features[0]?.activation ?? 1
  return (
    <li
      className={`grid grid-cols-[minmax(0,1fr)_auto] items-center gap-x-4 border-b border-line py-1 sm:grid-cols-[minmax(0,16rem)_9.5rem_minmax(0,1fr)] ${
        isLit ? 'bg-sunk' : ''
      }`}
      onPointerEnter={() => onPoint(fired.feature)}
    >
      <span className="min-w-0 pl-2">
        <FeatureChip fired={fired} found={headline.found_names[fired.feature]} prompt={headline} href={href} onLight={onPoint} />
      </span>
      <button
        type="button"
        aria-pressed={isLit}
        aria-label={`Highlight feature ${fired.feature}, activation ${number(fired.activation)}`}
        onClick={() => onLit(fired.feature)}
        className="flex h-6 items-center gap-2 pr-2 text-xs"
      >
        <span className="w-10 text-right tabular-nums">{number(fired.activation)}</span>
        <span className="h-2 w-20 rounded-[2px] bg-sunk">
          <span className="block h-full rounded-[2px] bg-bar" style={{ width: `${(100 * fired.activation) / strongest}%` }} />
        </span>
      </button>
      <span className="col-span-2 truncate pl-2 text-xs text-soft sm:col-span-1 sm:pl-0">
        {firingWords(fired, headline).map(({ word, activation, position }, i) => (
          <span key={position}>
            {i > 0 && <span className="text-faint"> · </span>}
            <Word className="text-ink">{word}</Word> <span className="tabular-nums">{number(activation)}</span>
          </span>
        ))}
      </span>
    </li>
  )
}
