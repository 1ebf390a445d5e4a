import { useUnit } from '../../hooks/useUnit'
import type { Headline } from '../../interpAPI'
import { className } from '../../lib/classes'
import { signed } from '../../lib/effects'
import { number } from '../../lib/format'
import { leastNamed } from '../../lib/story'
import { stretches } from '../../lib/text'
import { Word } from '../HeatText'

/** The most words that are listed. */
const MOST = 8

/** The words' own effects beside those of the features that fire on them, and how well the two agree. */
export function WordAttributions({ headline, labels }: { headline: Headline; labels: readonly string[] }) {
  const words = headline.effects?.word_effects
  const whole = useUnit() === 'headline'
  if (!words) return null
  const { integrated_gradients: gradients, occlusion, features, agreement, feature_agreement } = words
  const least = leastNamed([...features, ...gradients, ...occlusion])
  const listed = stretches(headline)
    .flatMap(({ text, kind, positions }) => (kind === 'word' ? [{ text, word: headline.words[positions[0] ?? -1] ?? -1 }] : []))
    .map(({ text, word }) => ({ text, word, values: [...(whole ? [] : [features[word] ?? 0]), gradients[word] ?? 0, occlusion[word] ?? 0] }))
    .filter(({ values }) => values.some((value) => Math.abs(value) >= least))
    .sort((one, other) => Math.abs(other.values.at(-2) ?? 0) - Math.abs(one.values.at(-2) ?? 0))
    .slice(0, MOST)
    .sort((one, other) => one.word - other.word)
  const name = className(labels, headline.prediction)
  return (
    <section aria-label="Effects of words" className="min-w-0">
      <h3 className="eyebrow">Effects of words</h3>
      <table className="mt-1 w-full max-w-[30rem] tabular-nums">
        <caption className="sr-only">Effects on the {name} logit by word</caption>
        <thead className="text-faint">
          <tr>
            {['word', ...(whole ? [] : ['features']), 'gradients', 'occlusion'].map((head, i) => (
              <th key={head} scope="col" className={`py-0.5 font-normal ${i === 0 ? 'text-left' : 'pl-3 text-right'}`}>{head}</th>
            ))}
          </tr>
        </thead>
        <tbody>
          {listed.map(({ text, word, values }) => (
            <tr key={word} className="border-t border-line/60">
              <th scope="row" className="max-w-40 truncate py-0.5 text-left font-normal"><Word>{text}</Word></th>
              {values.map((value, i) => (
                <td key={i} className="pl-3 text-right">{signed(value)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      <p className="mt-1 max-w-[46rem] text-faint">
        Each word’s effect on the <bdi className="font-semibold">{name}</bdi> logit, measured in {whole ? 'two ways: by' : 'three ways: by the features that fire on it, by'} integrated gradients of
        its embedding, and by taking the word out (occlusion).{' '}
        <span className="text-soft">
          {ranked('Features and gradients', feature_agreement)} {ranked('Gradients and occlusion', agreement)}
        </span>
      </p>
    </section>
  )
}

/** How far two attributions rank the words alike, given their rank correlation. */
function ranked(two: string, correlation: number | null): string {
  if (correlation === null) return ''
  const how = correlation >= 0.7 ? 'alike' : correlation >= 0.3 ? 'partly alike' : 'differently'
  return `${two} rank the words ${how} (rank correlation ${number(correlation)}).`
}
