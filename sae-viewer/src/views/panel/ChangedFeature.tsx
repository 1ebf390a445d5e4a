import { Link } from 'wouter'
import { FeatureCalled } from '../../components/FeatureName'
import { HeatText } from '../../components/HeatText'
import { OutcomeLine } from '../../components/Outcome'
import type { DiffAnswer, DiffFeature } from '../../interpAPI'
import { FEATURES, HEADLINES, writeAddress, type Address } from '../../lib/address'
import { className } from '../../lib/classes'
import { factor, strongestClasses } from '../../lib/diff'
import { signed } from '../../lib/effects'
import { number } from '../../lib/format'

/** Classes whose effects are named: those with the largest ones. */
const NAMED = 4

type Example = DiffFeature['examples'][number]

/** A changed feature: its effects, the run's nearest feature, and the same headlines as the models before and after see them. */
export function ChangedFeature({ feature, file, address }: { feature: DiffFeature; file: DiffAnswer; address: Address }) {
  const largest = Math.max(...feature.examples.flatMap(({ before, after }) => [...before, ...after]), 1e-9)
  const grain = address.view === 'unknown' ? 'words' : address.grain
  return (
    <div className="px-1 pt-1 pb-5">
      <p className="flex flex-wrap items-baseline gap-x-5 gap-y-1 text-xs text-soft">
        <span>
          effect where it fires:{' '}
          {strongestClasses(feature.effects, NAMED).map((index) => (
            <span key={index} className="mr-2 whitespace-nowrap">
              <bdi>{className(file.labels, index)}</bdi> <span className="text-ink tabular-nums">{signed(feature.effects[index] ?? 0)}</span>
              {feature.effects_before && <> (before {signed(feature.effects_before[index] ?? 0)})</>}
            </span>
          ))}
        </span>
        <span title="Cosine between its directions before and after">directions: cosine {feature.cosine.toFixed(2)}</span>
        {feature.control_growth != null && <span>growth with the other seed {factor(feature.control_growth)}</span>}
        <span className="inline-flex min-w-0 items-baseline gap-1.5">
          nearest of the run’s SAE (cosine {feature.alike_cosine.toFixed(2)}):
          <Link href={writeAddress({ ...FEATURES, run: address.run, feature: feature.alike })} className="inline-flex min-w-0 items-baseline gap-1.5 text-ink hover:underline">
            {feature.alike}
            <FeatureCalled feature={feature.alike} found={file.found_names[feature.alike]} word={undefined} />
          </Link>
        </span>
      </p>
      <ol aria-label={`Headlines of feature ${feature.feature}, before and after`} className="mt-3 space-y-3">
        {feature.examples.map((example) => {
          const prompt = file.prompts[example.headline]
          if (!prompt) return null
          return (
            <li key={example.headline} className="grid grid-cols-1 gap-x-8 gap-y-1 md:grid-cols-2">
              {(['before', 'after'] as const).map((side) => (
                <div key={side} className="min-w-0">
                  <span className="eyebrow">
                    {side} {example.positions.length === 0 && number(example[side][0] ?? 0)}
                  </span>
                  <Link href={writeAddress({ ...HEADLINES, run: address.run, open: example.headline })} className="headline block hover:underline">
                    <HeatText prompt={prompt} heat={heat(example, side, largest)} grain={grain} />
                  </Link>
                </div>
              ))}
              <div className="md:col-start-2">
                <OutcomeLine prompt={prompt} labels={file.labels} />
              </div>
            </li>
          )
        })}
      </ol>
      <p className="mt-3 text-xs text-soft">
        The deeper a word is coloured, the further the activation goes in the feature’s direction in that model, with all other features taken out. Both sides have one scale.
      </p>
    </div>
  )
}

/** The heat of one model; where it reads one vector per headline, words have none. */
function heat(example: Example, side: 'before' | 'after', max: number) {
  return { positions: example.positions, values: example.positions.length > 0 ? example[side] : [], max }
}
