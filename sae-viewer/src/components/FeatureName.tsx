import { useLabel } from '../hooks/useLabels'
import type { FeatureLabel } from '../interpAPI'
import { visible } from '../lib/text'
import { Word } from './HeatText'
import { Icon } from './Icon'

/** A feature by its number and strongest word (`Feature 1234: surge`), or by the name and star that a person gave it. */
export function FeatureName({ feature, word }: { feature: number; word: string | null | undefined }) {
  const label = useLabel(feature)
  const named = label !== undefined && label.name !== ''
  return (
    <>
      <span className="shrink-0 text-soft">
        Feature {feature}
        {(named || word != null) && ':'}
      </span>
      {label && <LabelMark label={label} />}
      {!named && word != null && <Word className="truncate">{word}</Word>}
    </>
  )
}

/** The name that a person gave a feature, and its star. */
export function LabelMark({ label: { name, starred } }: { label: FeatureLabel }) {
  return (
    <>
      {starred && (
        <span className="shrink-0 self-center text-plum">
          <Icon name="star" size={11} className="fill-current" />
          <span className="sr-only">starred</span>
        </span>
      )}
      {name && (
        <bdi className="truncate font-semibold" title={visible(name)}>
          {visible(name)}
        </bdi>
      )}
    </>
  )
}
