import { useCallback, useMemo, useState } from 'react'
import { SHARED } from '../../base'
import { Choice } from '../../components/Choice'
import { MeaningSwitch } from '../../components/MeaningSwitch'
import { Failure, Note, Notice, WithCommands } from '../../components/Notices'
import { SearchBox } from '../../components/SearchBox'
import { go } from '../../hooks/useAddress'
import type { MapAnswer, RunMetadata } from '../../interpAPI'
import { FEATURES, type MapAddress } from '../../lib/address'
import { count } from '../../lib/format'
import { inLasso, readLasso, writeLasso } from '../../lib/map'
import { visible } from '../../lib/text'
import { Legend } from './Legend'
import { MapStage } from './MapStage'
import { canDraw } from './plane'
import { Regions } from './Regions'
import { Selection } from './Selection'
import { useColours, usualColour } from './useColours'
import { MOST_MARKED, useFound, useMap, type Found } from './useMap'

/** The Map tab: all live features in the plane, and the same features as lists. */
export default function MapView({ address, run }: { address: MapAddress; run: RunMetadata }) {
  const { map, error, retry } = useMap(run.run_id)
  return (
    <section aria-label="Map" className="mx-auto max-w-[96rem] 3xl:max-w-[114rem] px-4 pt-5 pb-16 sm:px-6">
      <h1 className="sr-only">Map of the features</h1>
      {map ? (
        <Loaded map={map} address={address} run={run} />
      ) : error?.code === 'no_map' ? (
        <Note title="This run has no map of its features.">
          <p>{SHARED === undefined ? <WithCommands>{error.message}</WithCommands> : 'It was exported before a map was made.'}</p>
        </Note>
      ) : error ? (
        <Failure error={error} retry={retry} />
      ) : (
        <p role="status" aria-label="Loading the map" className="skeleton h-[64dvh]" />
      )}
    </section>
  )
}

function Loaded({ map, address, run }: { map: MapAnswer; address: MapAddress; run: RunMetadata }) {
  const [drawing, setDrawing] = useState(false)
  const [failed, setFailed] = useState(() => !canDraw())
  const colouring = useColours(map, address.colour ?? usualColour(map))
  const found = useFound(address, run.run_id)
  const change = useCallback((changes: Partial<MapAddress>, replace = false) => go({ ...address, ...changes }, replace), [address])
  const lasso = useMemo(() => (address.lasso === undefined ? undefined : readLasso(address.lasso)), [address.lasso])
  const marked = useMemo(() => map.features.flatMap((feature, i) => (found.features?.has(feature) ? [i] : [])), [map, found.features])
  const { indices, title } = useMemo(() => chosenOf(map, lasso, address.region, marked, found), [map, lasso, address.region, marked, found])
  const standOut = useMemo(() => (indices && (lasso ?? address.region !== undefined) ? new Set(indices) : undefined), [indices, lasso, address.region])
  const listed = useMemo(() => {
    const counts = map.n_headlines
    return [...(indices ?? map.features.keys())].sort((one, other) => (counts[other] ?? 0) - (counts[one] ?? 0))
  }, [map, indices])
  const clear = useCallback(() => change({ lasso: undefined, region: undefined, q: '' }), [change])
  const options = [
    { value: 'leaning', label: 'Class it indicates', description: 'The class with the feature’s highest AUROC.' },
    ...map.columns.map(({ name, label, description }) => ({ value: name, label: visible(label), description: visible(description) })),
  ]
  return (
    <div className="grid grid-cols-1 gap-x-8 gap-y-4 lg:grid-cols-[minmax(0,1fr)_21rem]">
      <div className="min-w-0">
        <div className="mb-2.5 flex flex-wrap items-center gap-x-4 gap-y-2">
          <div className="w-full sm:w-64">
            <Choice label="Colour" value={colouring.name} options={options} onChoose={(colour) => change({ colour: colour === usualColour(map) ? undefined : colour })} />
          </div>
          <div className="min-w-48 grow sm:max-w-md">
            <Legend map={map} colouring={colouring} />
          </div>
          {!failed && (
            <button type="button" className="button ml-auto" aria-pressed={drawing} onClick={() => setDrawing(!drawing)}>
              {drawing ? 'Draw around features …' : 'Lasso'}
            </button>
          )}
        </div>
        {failed ? (
          <Notice>This browser does not support WebGL 2, so only the lists are shown, and not the map.</Notice>
        ) : (
          <MapStage
            map={map}
            rgb={colouring.rgb}
            chosen={standOut}
            found={marked}
            lasso={lasso}
            drawing={drawing}
            region={address.region}
            onLasso={(corners) => {
              setDrawing(false)
              change({ lasso: corners && writeLasso(corners), region: undefined })
            }}
            onFeature={(feature) => go({ ...FEATURES, run: address.run, feature })}
            onFailure={() => setFailed(true)}
          />
        )}
        {address.lasso !== undefined && !lasso && <Notice>The lasso in the address cannot be read; it was ignored.</Notice>}
        <p className="mt-2 text-xs text-soft">
          Features that lie close together are alike. Distances between groups mean little. Layout: {map.method}. Names of regions: {map.named_by}.
        </p>
      </div>
      <aside aria-label="Features of the map" className="min-w-0 space-y-5 lg:max-h-[calc(100dvh-6rem)] lg:overflow-y-auto lg:pr-1">
        <div className="space-y-2">
          <SearchBox
            value={address.q}
            label="Mark features by number, name or strongest word"
            placeholder={address.by === 'meaning' ? 'A phrase, such as “merger talk”' : 'Number, name or word'}
            onSearch={(q) => change({ q }, true)}
            onLeave={() => undefined}
          />
          <MeaningSwitch by={address.by} onBy={(by) => change({ by })} />
          {found.waiting && (
            <p role="status" className="text-xs text-soft">
              Searching …
            </p>
          )}
          {found.error && <Notice tone="wrong">{found.error.message}</Notice>}
          {found.total > MOST_MARKED && <p className="text-xs text-soft">{count(MOST_MARKED)} of {count(found.total)} are marked.</p>}
        </div>
        <div>
          <h2 className="pb-1.5 text-sm font-semibold">Regions</h2>
          <Regions regions={map.regions} chosen={address.region} onChoose={(region) => change({ region, lasso: undefined })} />
        </div>
        <Selection map={map} run={run} address={address} title={title} chosen={listed} onClear={indices ? clear : undefined} />
      </aside>
    </div>
  )
}

/** The points that an address chooses, and in which way: by the lasso, else the region, else the search; undefined: all. */
function chosenOf(map: MapAnswer, lasso: ReturnType<typeof readLasso>, region: number | undefined, marked: number[], found: Found) {
  if (lasso) return { indices: inLasso(lasso, map.x, map.y), title: 'inside the lasso' }
  const named = region === undefined ? undefined : map.regions[region]
  if (named) return { indices: map.region.flatMap((one, i) => (one === region ? [i] : [])), title: `in “${visible(named.name)}”` }
  if (found.features) return { indices: marked, title: 'found' }
  return { indices: undefined, title: 'on the map' }
}
