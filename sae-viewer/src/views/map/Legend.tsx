import { ClassName } from '../../components/Outcome'
import type { MapAnswer } from '../../interpAPI'
import { isMany } from '../../lib/classes'
import { number, rarity } from '../../lib/format'
import { densityRange, extent } from '../../lib/map'
import type { Colouring } from './useColours'

/** What the colours of the map mean. */
export function Legend({ map, colouring }: { map: MapAnswer; colouring: Colouring }) {
  const column = map.columns.find(({ name }) => name === colouring.name)
  if (!column) {
    if (isMany(map.labels)) return <p className="text-xs text-soft">There are too many classes for a colour each.</p>
    return (
      <ul aria-label="Colours" className="flex flex-wrap gap-x-4 gap-y-0.5 text-xs">
        {map.labels.map((label, index) => (
          <li key={label} className="min-w-0">
            <ClassName labels={map.labels} index={index} />
          </li>
        ))}
      </ul>
    )
  }
  const [low, high] = endsOf(column)
  return (
    <div className="text-xs text-soft">
      <div className="flex items-center gap-2 tabular-nums">
        <span>{low}</span>
        <span aria-hidden="true" className="h-2 grow rounded-[2px]" style={{ background: `linear-gradient(to right, ${colouring.scale.join(', ')})` }} />
        <span>{high}</span>
      </div>
      <p className="mt-1">{column.description}</p>
    </div>
  )
}

function endsOf({ kind, values }: MapAnswer['columns'][number]): [low: string, high: string] {
  if (kind === 'stability') return ['0', '1']
  if (kind === 'effect') return [`−${number(extent(values))} logit`, `+${number(extent(values))}`]
  const [low, high] = densityRange(values)
  return [rarity(10 ** low), rarity(10 ** high)]
}
