import { useState } from 'react'
import { go } from '../../hooks/useAddress'
import { useDebounced } from '../../hooks/useDebounced'
import type { HeadlinesQuery, RunMetadata } from '../../interpAPI'
import { wholeNumber, type Address } from '../../lib/address'
import { CompareFeature } from './CompareFeature'
import { CompareHeadline } from './CompareHeadline'
import { CompareTable } from './CompareTable'
import { Fidelity } from './Fidelity'
import { sideBySide } from './fidelityPoints'
import { Section } from './Section'
import { useComparison, useOneHeadline } from './useCompare'
import { useRuns } from './useRuns'

/** The greatest number of runs side by side. */
const MOST = 4

/** The shown run beside others: their figures, one headline in each, the nearest features in each. */
export default function Compare({ run, address }: { run: RunMetadata; address: Address }) {
  const others = address.view === 'unknown' ? [] : (address.compare ?? '').split(',').filter((id) => id && id !== run.run_id)
  const runs = [run.run_id, ...new Set(others)].slice(0, MOST)
  const [q, setQ] = useState('')
  const search = useDebounced(q, setQ)
  const headline = useOneHeadline(q ? { run: run.run_id, q } : shownHeadline(run, address))
  const [wanted, setWanted] = useState('')
  const typed = wholeNumber(wanted.trim())
  const asked = typed !== undefined && typed < run.sae.d_sae ? typed : undefined
  const feature = asked ?? (address.view === 'features' ? address.feature : undefined) ?? headline.data?.features[0]?.feature
  const { data, error } = useComparison(runs, headline.data?.headline_id, feature)

  return (
    <div className="space-y-9">
      <Chooser shown={run.run_id} chosen={runs.slice(1)} address={address} />
      {error && <p className="text-wrong">{error.message}</p>}
      {!data && !error && <span className="skeleton block h-80" />}
      {data && runs.length > 1 && (
        <>
          <div className="grid grid-cols-1 gap-x-12 gap-y-9 lg:grid-cols-2">
            <CompareTable runs={data.runs} />
            <Fidelity series={sideBySide(data.runs)} name="L0-FVU" />
          </div>
          <Section title="The same headline">
            <input
              type="search"
              aria-label="Find a headline to compare"
              placeholder="Find another headline by its words"
              maxLength={200}
              value={search.draft}
              onChange={(event) => search.type(event.target.value)}
              className="field mb-3 max-w-96 px-2.5"
            />
            {headline.data === null ? (
              <p className="text-soft">No headline contains “{q}”.</p>
            ) : (
              <CompareHeadline answer={data} onFeature={(chosen) => setWanted(String(chosen))} />
            )}
          </Section>
          <CompareFeature answer={data} feature={feature} wanted={wanted} onWanted={setWanted} />
        </>
      )}
    </div>
  )
}

/** The query for the headline to compare: the open one, else the first of the list, or one of the shown feature. */
function shownHeadline(run: RunMetadata, address: Address): HeadlinesQuery {
  if (address.view === 'bench') return { run: run.run_id, offset: address.headline }
  if (address.view === 'unknown' || address.view === 'map') return { run: run.run_id }
  if (address.view === 'features') return { run: run.run_id, feature: address.feature }
  const { q, where, label, prediction, correct, feature, sort, order, open } = address
  return { run: run.run_id, q, where: [...where], label, prediction, correct, feature, sort, order, offset: open }
}

/** The buttons that choose the other runs. */
function Chooser({ shown, chosen, address }: { shown: string; chosen: string[]; address: Address }) {
  const { data } = useRuns()
  if (address.view === 'unknown') return null
  const others = (data?.runs ?? []).filter(({ run_id, readable }) => readable && run_id !== shown)
  const put = (ids: string[]) => go({ ...address, panel: 'compare', compare: ids.join(',') || undefined }, true)
  if (data && others.length === 0) {
    return <p className="text-soft">There is no other run to compare with. Analyse an SAE of another size or seed to see both here.</p>
  }
  return (
    <fieldset>
      <legend className="eyebrow mb-2">
        {chosen.length === 0 ? `Choose up to ${MOST - 1} runs to compare with ${shown}` : `Compared with ${shown}`}
      </legend>
      <div className="flex max-h-40 flex-wrap gap-2 overflow-y-auto">
        {others.map(({ run_id, sae_size, layer }) => {
          const on = chosen.includes(run_id)
          return (
            <button
              key={run_id}
              type="button"
              aria-pressed={on}
              aria-disabled={!on && chosen.length >= MOST - 1}
              onClick={() => {
                if (on) put(chosen.filter((id) => id !== run_id))
                else if (chosen.length < MOST - 1) put([...chosen, run_id])
              }}
              className="button text-xs aria-pressed:border-ink aria-pressed:bg-sunk aria-pressed:font-semibold"
            >
              {run_id}
              <span className="font-normal text-soft">
                {sae_size}, layer {layer}
              </span>
            </button>
          )
        })}
      </div>
    </fieldset>
  )
}
