import { Link } from 'wouter'
import { Word } from '../../components/HeatText'
import type { Probe } from '../../interpAPI'
import { changes } from '../../lib/effects'
import { number } from '../../lib/format'

const SHOWN = 8

/** The features whose activation differs most between two texts. */
export function FeatureChanges({ before, after, href, onLight }: {
  before: Probe
  after: Probe
  href: (feature: number) => string
  onLight: (feature: number | undefined) => void
}) {
  const found = changes(before.features, after.features).slice(0, SHOWN)
  if (found.length === 0) return null
  return (
    <section aria-label="Features that change" className="text-xs">
      <h3 className="eyebrow">Features that change with the text</h3>
      <ul className="mt-1 columns-2 gap-x-6">
        {found.map(({ feature, word, before: was, after: is }) => (
          <li key={feature} className="truncate" onPointerEnter={() => onLight(feature)}>
            <Link href={href(feature)} className="text-soft hover:underline">{feature}</Link> <Word>{word}</Word>{' '}
            <span className="tabular-nums">{was ? number(was) : '–'} → {is ? number(is) : '–'}</span>
          </li>
        ))}
      </ul>
      <p className="mt-0.5 text-faint">
        Activations f among the 12 features with the largest effect; a dash means that the feature is not among them.
      </p>
    </section>
  )
}
