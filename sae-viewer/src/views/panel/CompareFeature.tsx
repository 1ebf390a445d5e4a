import { Link } from 'wouter'
import { Word } from '../../components/HeatText'
import type { CompareAnswer } from '../../interpAPI'
import { FEATURES, wholeNumber, writeAddress } from '../../lib/address'
import { number } from '../../lib/format'
import { Section } from './Section'

/** The features of the other runs that are nearest to one of this run, by the cosine of their decoder directions. */
export function CompareFeature({ answer, feature, wanted, onWanted }: {
  answer: CompareAnswer
  feature: number | undefined
  wanted: string
  onWanted: (text: string) => void
}) {
  const first = answer.runs[0]
  const last = (first?.sae.d_sae ?? 1) - 1
  const id = wholeNumber(wanted.trim())
  const wrong = wanted.trim() !== '' && (id === undefined || id > last)
  return (
    <Section title={feature === undefined ? 'Nearest features' : `Nearest to feature ${feature} of ${first?.run_id ?? 'this run'}`}>
      <input
        inputMode="numeric"
        aria-label="Number of the feature to find"
        placeholder="Feature number"
        value={wanted}
        onChange={(event) => onWanted(event.target.value)}
        className="field mb-2 max-w-40 px-2.5"
      />
      {wrong && <p className="text-wrong">There is no feature “{wanted}”: features are numbered 0 to {last}.</p>}
      <div className="grid grid-cols-1 gap-x-10 gap-y-5 md:grid-cols-2">
        {answer.matches.map(({ run_id, features }) => (
          <div key={run_id}>
            <p className="eyebrow mb-1">In {run_id}</p>
            {features.length === 0 && (
              <p className="text-soft">The two runs cannot be matched: one has no decoder saved, or their hidden sizes differ. Analyse the run again.</p>
            )}
            <ol>
              {features.map(({ feature: other, word, similarity }) => (
                <li key={other} className="border-b border-line">
                  <Link
                    href={writeAddress({ ...FEATURES, run: run_id, feature: other })}
                    className="grid grid-cols-[4rem_minmax(0,1fr)_6rem] gap-x-3 py-1 hover:bg-sunk"
                  >
                    <span className="text-right tabular-nums">{other}</span>
                    {word === null ? <span className="text-xs text-faint">no examples saved</span> : <Word className="truncate">{word}</Word>}
                    <span className="text-right text-xs tabular-nums">cosine {number(similarity)}</span>
                  </Link>
                </li>
              ))}
            </ol>
          </div>
        ))}
      </div>
      <p className="mt-2 text-xs text-soft">Cosine of the decoder directions: 1 is the same direction, 0 an unrelated one.</p>
    </Section>
  )
}
