import type { ReactNode } from 'react'
import { useLabel } from '../../hooks/useLabels'
import type { FeatureInfo } from '../../interpAPI'
import { count, number } from '../../lib/format'
import { visible } from '../../lib/text'
import { Interval } from './Interval'
import { Reading, Section } from './Section'

type Naming = NonNullable<FeatureInfo['naming']>
type Explanation = NonNullable<FeatureInfo['explanation']>

const KINDS = { word: 'the word', stem: 'a form of', phrase: 'the phrase', shape: 'the shape', position: 'the text', class: 'predicted', lexicon: 'a word of' } as const

/** The name that the analysis found, its rule and its score, and what a language model said. */
export function FoundNaming({ info: { feature, naming, explanation } }: { info: FeatureInfo }) {
  if (!naming && !explanation) return null
  return (
    <Section id="name" title="Name">
      <div className="grid grid-cols-1 gap-x-10 gap-y-5 pt-3 md:grid-cols-2">
        {naming && <Found naming={naming} feature={feature} />}
        {explanation && <Explained explanation={explanation} />}
      </div>
    </Section>
  )
}

function Found({ naming, feature }: { naming: Naming; feature: number }) {
  const { name, rule, score, low, high, f1, n, n_rule, shuffled, above } = naming
  // The page's heading has the found name, unless a person gave another.
  const inHeading = !useLabel(feature)?.name
  return (
    <section aria-label="Found name" className="min-w-0">
      {name === null ? (
        <p className="text-soft">No name found.</p>
      ) : inHeading ? null : (
        <p className="wrap-anywhere">
          <bdi className="font-semibold">{visible(name)}</bdi>
        </p>
      )}
      {rule.length > 0 && (
        <p className="mt-1 text-soft wrap-anywhere">
          {name === null ? 'The best rule' : 'The rule'}: {rule.map(({ kind, value }, i) => (
            <span key={i}>
              {i > 0 && ', or '}
              {KINDS[kind]} <bdi className="text-ink">{visible(value)}</bdi>
            </span>
          ))}
        </p>
      )}
      {score !== null && <Score what="AUROC on other headlines" score={{ auroc: score, low: low ?? score, high: high ?? score }} />}
      <Reading>
        {score === null
          ? 'It fires on too few of the testing headlines for a test, or on nearly all of them.'
          : `AUROC says how well the rule predicts in which headlines the feature fires strongly; 0.5 is chance. It is measured on testing headlines, which were not used to find the rule. The feature fires strongly in ${count(n)} of them${above > 0 ? ` (its maximum is above ${number(above)})` : ''}, and the rule holds in ${count(n_rule)}. F1 is ${number(f1 ?? 0)}.${shuffled === null ? '' : ` For comparison, the rule of another feature has an AUROC of ${number(shuffled)}.`}`}
      </Reading>
    </section>
  )
}

function Explained({ explanation: { text, model, detection, fuzzing, rule_detection } }: { explanation: Explanation }) {
  const scores = [
    ['detection', detection],
    ['found rule, same headlines', rule_detection],
    ['marked words', fuzzing],
  ] as const
  return (
    <section aria-label="Explanation by a language model" className="min-w-0">
      <p className="wrap-anywhere">
        <bdi className="font-semibold">{visible(text)}</bdi> <span className="text-xs text-soft">written by <bdi>{visible(model)}</bdi></span>
      </p>
      {scores.map(([what, score]) => score && <Score key={what} what={what} score={score} />)}
      <Reading>
        {scores.every(([, score]) => score === null)
          ? 'It was not tested: there are too few headlines, or the model’s answers could not be used.'
          : 'The model gets only the explanation. In detection it picks the headlines in which the feature fires, among as many others. With marked words it picks the headlines whose marked words make the feature fire. The scores are AUROCs; 0.5 is chance.'}
      </Reading>
    </section>
  )
}

function Score({ what, score: { auroc, low, high } }: { what: string; score: { auroc: number; low: number; high: number } }): ReactNode {
  return (
    <div className="mt-1.5 grid grid-cols-[minmax(0,11rem)_minmax(4rem,1fr)_8.5rem] items-center gap-x-3 text-xs">
      <span className="text-soft">{what}</span>
      <Interval value={auroc} low={low} high={high} from={0} to={1} line={0.5} color="var(--color-plum)" />
      <span className="text-right tabular-nums">
        {auroc.toFixed(2)} <span className="text-soft">({low.toFixed(2)} to {high.toFixed(2)})</span>
      </span>
    </div>
  )
}
