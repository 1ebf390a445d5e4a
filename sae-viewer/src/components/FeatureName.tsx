import { useLabel } from '../hooks/useLabels'
import type { FeatureLabel, FoundName } from '../interpAPI'
import { number } from '../lib/format'
import { visible } from '../lib/text'
import { Word } from './HeatText'
import { Icon } from './Icon'

interface Named {
  feature: number
  /** The name that the analysis found; nothing where it found none. */
  found: FoundName | null | undefined
  /** The word of its strongest token; empty where it fires on headlines as a whole. */
  word: string | null | undefined
}

/** A feature by its number and what it is called: `Feature 1234: rise, gain`. */
export function FeatureName({ feature, found, word }: Named) {
  const label = useLabel(feature)
  return (
    <>
      <span className="shrink-0 text-soft">
        Feature {feature}
        {(Boolean(label?.name) || found != null || Boolean(word)) && ':'}
      </span>
      <FeatureCalled feature={feature} found={found} word={word} />
    </>
  )
}

/** What a feature is called, without its number: the name that a person gave, else the found name, else its strongest word in quotation marks. */
export function FeatureCalled({ feature, found, word }: Named) {
  const label = useLabel(feature)
  return (
    <>
      {label && <LabelMark label={label} />}
      {!label?.name && (found ? <FoundMark found={found} /> : word && <StrongestWord word={word} />)}
    </>
  )
}

/** A name that the analysis found. */
function FoundMark({ found }: { found: FoundName }) {
  return (
    <bdi className="truncate" title={`${visible(found.text)} (${foundScore(found)})`}>
      {visible(found.text)}
    </bdi>
  )
}

/** How well a found name predicts where its feature fires. */
function foundScore({ score, low, high }: FoundName): string {
  return `found name, AUROC ${number(score)}, 95 % interval ${number(low)} to ${number(high)}`
}

/** The word of a feature's strongest token, which is no name. */
function StrongestWord({ word }: { word: string }) {
  return (
    <span className="truncate pr-1 text-soft italic" title="No name found. This is the word of its strongest token.">
      <span className="sr-only">no name, strongest word </span>“<Word>{word}</Word>”
    </span>
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
