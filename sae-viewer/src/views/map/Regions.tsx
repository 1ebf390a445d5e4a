import type { MapRegion } from '../../interpAPI'
import { count } from '../../lib/format'
import { visible } from '../../lib/text'

/** The regions of the map as a list; a choice lists a region's features. */
export function Regions({ regions, chosen, onChoose }: { regions: MapRegion[]; chosen: number | undefined; onChoose: (region: number | undefined) => void }) {
  if (regions.length === 0) return <p className="text-xs text-soft">The features form no regions.</p>
  return (
    <ol aria-label="Regions" className="max-h-64 overflow-y-auto border-y border-line">
      {regions.map(({ name, words, n_features }, i) => (
        <li key={i}>
          <button
            type="button"
            aria-pressed={i === chosen}
            title={words.map(visible).join(', ')}
            onClick={() => onChoose(i === chosen ? undefined : i)}
            className="flex w-full min-w-0 items-baseline justify-between gap-3 px-1.5 py-1 text-left text-sm hover:bg-sunk aria-pressed:bg-sunk aria-pressed:font-semibold"
          >
            <bdi className="min-w-0 truncate">{visible(name) || 'no name'}</bdi>
            <span className="shrink-0 text-xs text-soft tabular-nums">{count(n_features)}</span>
          </button>
        </li>
      ))}
    </ol>
  )
}
