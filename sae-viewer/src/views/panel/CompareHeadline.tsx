import { useState } from 'react'
import { HeatText, Word } from '../../components/HeatText'
import { Outcome } from '../../components/Outcome'
import { LabelledContext } from '../../hooks/useLabelled'
import type { CompareAnswer, Headline, RunMetadata } from '../../interpAPI'
import { number } from '../../lib/format'

/** Features shown of each run. */
const MOST = 8

/** One headline in each run: the prediction, the strongest features, and the heat of the chosen one. */
export function CompareHeadline({ answer, onFeature }: { answer: CompareAnswer; onFeature: (feature: number) => void }) {
  return (
    <div className="grid grid-cols-1 gap-x-10 gap-y-6 md:grid-cols-2">
      {answer.runs.map((run, i) => {
        const headline = answer.headlines[i]
        return headline ? (
          <Side key={run.run_id} run={run} headline={headline} onFeature={i === 0 ? onFeature : undefined} />
        ) : (
          <div key={run.run_id}>
            <p className="eyebrow">{run.run_id}</p>
            <p className="mt-1 text-soft">This run does not have this headline.</p>
          </div>
        )
      })}
    </div>
  )
}

function Side({ run, headline, onFeature }: { run: RunMetadata; headline: Headline; onFeature: ((feature: number) => void) | undefined }) {
  const [chosen, setChosen] = useState<number>()
  const lit = headline.features.find(({ feature }) => feature === chosen) ?? headline.features[0]
  const strongest = headline.features[0]?.activation ?? 1
  return (
    <article aria-label={`The headline in ${run.run_id}`} className="min-w-0">
      <p className="eyebrow">
        {run.run_id} <span className="font-normal">· {run.sae.size}, layer {run.hookpoint.layer}</span>
      </p>
      <p className="headline mt-1.5 line-clamp-6">
        <HeatText prompt={headline} grain="words" heat={lit && { positions: lit.positions, values: lit.values, max: Math.max(...lit.values) }} />
      </p>
      <div className="mt-2 max-w-64">
        <LabelledContext value={run.labelled}>
          <Outcome prompt={headline} labels={run.labels} />
        </LabelledContext>
      </div>
      <ol className="mt-3 border-t border-line">
        {headline.features.slice(0, MOST).map(({ feature, word, activation }) => (
          <li key={feature} className="border-b border-line">
            <button
              type="button"
              aria-pressed={feature === lit?.feature}
              onClick={() => {
                setChosen(feature)
                onFeature?.(feature)
              }}
              className="grid w-full grid-cols-[3.5rem_minmax(0,1fr)_3rem_5rem] items-center gap-x-3 px-1 py-1 text-left hover:bg-sunk aria-pressed:bg-sunk"
            >
              <span className="text-right text-soft tabular-nums">{feature}</span>
              <Word className="truncate">{word}</Word>
              <span className="text-right text-xs tabular-nums">{number(activation)}</span>
              <span className="h-2 rounded-[2px] bg-sunk">
                <span className="block h-full rounded-[2px] bg-bar" style={{ width: `${(100 * activation) / strongest}%` }} />
              </span>
            </button>
          </li>
        ))}
      </ol>
    </article>
  )
}
