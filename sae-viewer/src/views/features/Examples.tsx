import { useState } from 'react'
import { HeatLegend } from '../../components/HeatText'
import { go } from '../../hooks/useAddress'
import { useHeadlines } from '../../hooks/useHeadlines'
import { useUnit, WHOLE } from '../../hooks/useUnit'
import type { ExampleGroup, FeatureInfo, FiredFeature } from '../../interpAPI'
import { HEADLINES, writeAddress, type FeaturesAddress } from '../../lib/address'
import { count, counted, number } from '../../lib/format'
import { ExampleRow } from './ExampleRow'
import { Section } from './Section'

/** Examples of a group shown before it is unfolded. */
const AT_FIRST = 5
/** Words on either side of the strongest that a reader can choose; undefined shows the whole headline. */
const WINDOWS = [3, 6, 12, undefined]

/** The headlines with the highest activations, then examples from each quantile, then random ones. */
export function Examples({ info, address }: { info: FeatureInfo; address: FeaturesAddress }) {
  const max = Math.max(0, ...info.examples.map(({ activation }) => activation))
  const others = info.groups.filter(({ kind, examples }) => kind !== 'top' && examples.length > 0)
  const quantiles = others.filter(({ kind }) => kind === 'quantile').sort((one, other) => other.high - one.high)
  const random = others.filter(({ kind }) => kind === 'random')
  const top = { kind: 'top', low: 0, high: max, n_headlines: info.n_headlines, examples: info.examples } as const
  const all = [
    { title: 'Top examples', group: top as ExampleGroup },
    ...quantiles.map((group, i) => ({ title: quantileName(i, quantiles.length), group })),
    ...random.map((group) => ({ title: 'Random examples', group })),
  ]
  return (
    <Section id="examples" title="Examples" className="mt-10" aside={<Controls address={address} max={max} />}>
      {all.map(({ title, group }) => (
        <Group key={`${info.feature} ${title}`} title={title} group={group} info={info} address={address} max={max} />
      ))}
    </Section>
  )
}

/** The name of quantile group `i` of `n`, strongest first: "Strongest quarter of its headlines". */
function quantileName(i: number, n: number): string {
  const part = n === 4 ? 'quarter' : n === 5 ? 'fifth' : n === 10 ? 'tenth' : 'part'
  const ordinals = ['Strongest', 'Second', 'Third', 'Fourth', 'Fifth', 'Sixth', 'Seventh', 'Eighth', 'Ninth']
  return `${i > 0 && i === n - 1 ? 'Weakest' : (ordinals[i] ?? `${i + 1}th`)} ${part} of its headlines`
}

function Group({ title, group, info, address, max }: {
  title: string
  group: ExampleGroup
  info: FeatureInfo
  address: FeaturesAddress
  max: number
}) {
  const [all, setAll] = useState(false)
  const n = group.examples.length
  const shown = all ? group.examples : group.examples.slice(0, AT_FIRST)
  return (
    <section aria-label={title} className="mt-4">
      <h3 className="flex flex-wrap items-baseline gap-x-3 border-b border-line pb-1.5">
        <span className="font-semibold">{group.kind === 'top' ? `Top ${counted(n, 'example')}` : title}</span>
        <span className="text-xs text-soft tabular-nums">
          {group.kind === 'quantile' && `f from ${number(group.low)} to ${number(group.high)} · ${n} of ${counted(group.n_headlines, 'headline')}`}
          {group.kind === 'random' && `${n} of the ${counted(group.n_headlines, 'headline')} in which it fires`}
        </span>
      </h3>
      <ol>
        {shown.map((example, i) => (
          <ExampleRow
            key={`${example.headline} ${example.position}`}
            rank={i + 1}
            activation={example.activation}
            prompt={example.prompt}
            labels={info.labels}
            heat={heatOf(example, max)}
            grain={address.grain}
            context={address.context}
            href={writeAddress({ ...HEADLINES, run: address.run, open: example.headline, lit: info.feature })}
          />
        ))}
      </ol>
      {!all && n > AT_FIRST && (
        <button type="button" className="quiet mt-2 text-xs" onClick={() => setAll(true)}>
          Show all {n}
        </button>
      )}
    </section>
  )
}

/** A substitute for examples: the headlines that have the feature among their strongest. */
export function StrongestIn({ info, address }: { info: FeatureInfo; address: FeaturesAddress }) {
  const { first } = useHeadlines({ run: info.run_id, feature: info.feature }, [0, 0])
  const found = (first?.headlines ?? []).flatMap((headline) => {
    const fired = headline.features.find(({ feature }) => feature === info.feature)
    return fired ? [{ headline, fired }] : []
  })
  if (found.length === 0) return null
  const shown = found.sort((one, other) => other.fired.activation - one.fired.activation).slice(0, 20)
  const max = shown[0]?.fired.activation ?? 1
  return (
    <Section
      id="examples"
      title="Headlines with this feature among their strongest"
      className="mt-8"
      aside={<Controls address={address} max={max} />}
    >
      <ol>
        {shown.map(({ headline, fired }, i) => (
          <ExampleRow
            key={headline.headline}
            rank={i + 1}
            activation={fired.activation}
            prompt={headline}
            labels={info.labels}
            heat={heatOf(fired, max)}
            grain={address.grain}
            context={address.context}
            href={writeAddress({ ...HEADLINES, run: address.run, open: headline.headline, lit: info.feature })}
          />
        ))}
      </ol>
    </Section>
  )
}

/** The heat of a headline, and its strongest word; neither where the feature fires on the headline as a whole. */
function heatOf({ token, position, positions, values }: Pick<FiredFeature, 'token' | 'position' | 'positions' | 'values'>, max: number) {
  return token === '' ? { positions, values, max } : { positions, values, max, peak: position }
}

/** The legend of the heat, and how much of each headline is shown. */
function Controls({ address, max }: { address: FeaturesAddress; max: number }) {
  if (useUnit() === 'headline') return <p className="text-xs text-soft">{WHOLE}</p>
  return (
    <div className="flex flex-wrap items-center gap-x-6 gap-y-1.5 text-xs text-soft">
      <HeatLegend max={max} what="activation f" />
      <div role="group" aria-label="Words around the strongest word" className="flex items-center gap-1.5">
        <span>context</span>
        <span className="flex rounded-md border border-edge bg-raised text-ink">
          {WINDOWS.map((words) => (
            <button
              key={words ?? 'all'}
              type="button"
              aria-pressed={address.context === words}
              aria-label={words === undefined ? 'Whole headlines' : `${count(words)} words on either side`}
              onClick={() => go({ ...address, context: words }, true)}
              className="segment px-2 py-0"
            >
              {words === undefined ? 'all' : `±${words}`}
            </button>
          ))}
        </span>
      </div>
      <label className="flex items-center gap-1.5">
        <input
          type="checkbox"
          checked={address.grain === 'pieces'}
          onChange={(event) => go({ ...address, grain: event.target.checked ? 'pieces' : 'words' }, true)}
        />
        Show tokens as the model reads them
      </label>
    </div>
  )
}
