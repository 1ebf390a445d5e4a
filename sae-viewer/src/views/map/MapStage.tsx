import { useEffect, useRef, useState, type KeyboardEvent, type RefObject } from 'react'
import { FeatureName } from '../../components/FeatureName'
import type { MapAnswer } from '../../interpAPI'
import { count, counted } from '../../lib/format'
import { nearestPoint, spaced, type Corner, type Rgb } from '../../lib/map'
import { visible } from '../../lib/text'
import { Lasso } from './Lasso'
import { createPlane, within, type Camera, type Plane, type Reports } from './plane'
import { rgbOf } from './useColours'

/** The space that a region's name takes, in pixels. */
const LABEL = [150, 18] as const
/** Pixels from which the pointer reaches a point. */
const REACH = 8

interface Size {
  width: number
  height: number
}

/** The map itself: points that can be moved, zoomed and pointed at, with the names of its regions. */
export function MapStage({ map, rgb, chosen, found, lasso, drawing, region, onLasso, onFeature, onFailure }: {
  map: MapAnswer
  rgb: readonly Rgb[]
  /** The points that stand out, by index; undefined: all. */
  chosen: ReadonlySet<number> | undefined
  /** The points that a search found. */
  found: readonly number[]
  lasso: Corner[] | undefined
  /** Whether the pointer draws a lasso instead of moving the map. */
  drawing: boolean
  region: number | undefined
  onLasso: (corners: Corner[] | undefined) => void
  onFeature: (feature: number) => void
  onFailure: () => void
}) {
  const host = useRef<HTMLDivElement>(null)
  const plane = useRef<Plane>(undefined)
  const size = useSize(host)
  const [moved, setMoved] = useState<Camera>()
  const [pointed, setPointed] = useState<{ index: number; x: number; y: number }>()
  const whole: Camera = { middle: [0.5, 0.5], side: 0.94 * Math.min(size.width, size.height) }
  const camera = moved ?? whole
  const toPixels = ([x, y]: Corner): Corner => [
    size.width / 2 + (x - camera.middle[0]) * camera.side,
    size.height / 2 + (y - camera.middle[1]) * camera.side,
  ]
  const toPlace = ([x, y]: Corner): Corner => [
    camera.middle[0] + (x - size.width / 2) / camera.side,
    camera.middle[1] + (y - size.height / 2) / camera.side,
  ]
  const pointAt = (x: number, y: number) => nearestPoint(map.x, map.y, toPlace([x, y]), REACH / camera.side)
  const reports = useRef<Pick<Reports, 'onFailure' | 'onClick'>>({ onFailure, onClick: () => undefined })
  useEffect(() => {
    const onClick = (x: number, y: number) => {
      const feature = map.features[pointAt(x, y) ?? -1]
      if (feature !== undefined) onFeature(feature)
    }
    reports.current = { onFailure, onClick }
  })

  const isMeasured = size.width > 0
  useEffect(() => {
    if (!host.current || !isMeasured) return
    try {
      plane.current = createPlane(host.current, whole, {
        onCamera: setMoved,
        onClick: (x, y) => reports.current.onClick(x, y),
        onFailure: () => reports.current.onFailure(),
      })
    } catch {
      reports.current.onFailure()
    }
    return () => {
      plane.current?.destroy()
      plane.current = undefined
    }
    // eslint-disable-next-line react-hooks/exhaustive-deps -- made once; the camera is told to it below
  }, [isMeasured])
  useEffect(() => {
    plane.current?.draw({ x: map.x, y: map.y, rgb, chosen, ringed: found, ring: rgbOf('var(--color-plum)') })
  }, [map, rgb, chosen, found, isMeasured])
  useEffect(() => {
    if (!moved) plane.current?.look(whole)
    // eslint-disable-next-line react-hooks/exhaustive-deps -- until the reader moves it, the map fits its frame
  }, [size.width, size.height])

  const look = (to: Camera | undefined) => {
    setMoved(to && within(to))
    plane.current?.look(to ? within(to) : whole)
  }
  const onKeyDown = (event: KeyboardEvent) => {
    const { middle, side } = camera
    const step = 60 / side
    const moves: Record<string, () => void> = {
      ArrowLeft: () => look({ middle: [middle[0] - step, middle[1]], side }),
      ArrowRight: () => look({ middle: [middle[0] + step, middle[1]], side }),
      ArrowUp: () => look({ middle: [middle[0], middle[1] - step], side }),
      ArrowDown: () => look({ middle: [middle[0], middle[1] + step], side }),
      '+': () => look({ middle, side: side * 1.4 }),
      '=': () => look({ middle, side: side * 1.4 }),
      '-': () => look({ middle, side: side / 1.4 }),
      '0': () => look(undefined),
    }
    const move = moves[event.key]
    if (!move || event.ctrlKey || event.metaKey) return
    event.preventDefault()
    event.stopPropagation()
    move()
  }
  return (
    <div
      role="application"
      aria-label={`Map of ${counted(map.features.length, 'feature')}. The arrow keys move it, plus and minus zoom, 0 shows all of it. The lists beside it hold the same features.`}
      tabIndex={0}
      onKeyDown={onKeyDown}
      className="relative h-[64dvh] min-h-80 overflow-hidden rounded-md border border-line bg-raised lg:h-[calc(100dvh-9rem)]"
    >
      <div
        ref={host}
        data-testid="plane"
        onPointerMove={(event) => {
          if (event.buttons > 0) return setPointed(undefined)
          const { left, top } = event.currentTarget.getBoundingClientRect()
          const [x, y] = [event.clientX - left, event.clientY - top]
          const index = pointAt(x, y)
          setPointed(index === undefined ? undefined : { index, x, y })
        }}
        onPointerLeave={() => setPointed(undefined)}
        className={`absolute inset-0 ${pointed ? 'cursor-pointer' : 'cursor-grab'}`}
      />
      <RegionNames map={map} chosen={region} toPixels={toPixels} size={size} />
      <Lasso corners={lasso} drawing={drawing} toPixels={toPixels} toPlace={toPlace} onLasso={onLasso} />
      <div className="absolute right-2 bottom-2 flex flex-col overflow-hidden rounded-md border border-edge bg-raised">
        <Zoom name="Zoom in" sign="+" onZoom={() => look({ middle: camera.middle, side: camera.side * 1.6 })} />
        <Zoom name="Zoom out" sign="−" onZoom={() => look({ middle: camera.middle, side: camera.side / 1.6 })} />
        <Zoom name="Show the whole map" sign="◻" onZoom={() => look(undefined)} />
      </div>
      {pointed && !drawing && <Pointed map={map} at={pointed} size={size} />}
    </div>
  )
}

function Zoom({ name, sign, onZoom }: { name: string; sign: string; onZoom: () => void }) {
  return (
    <button type="button" aria-label={name} title={name} onClick={onZoom} className="h-8 w-8 border-b border-line text-soft last:border-0 hover:bg-sunk hover:text-ink">
      {sign}
    </button>
  )
}

/** The greatest width of a region's name, in pixels. */
const NAME_WIDTH = 144

/** The names of the regions, the largest first; those that would overlap are left out until the map is larger. */
function RegionNames({ map, chosen, toPixels, size }: { map: MapAnswer; chosen: number | undefined; toPixels: (corner: Corner) => Corner; size: Size }) {
  const places = map.regions.map(({ x, y }) => toPixels([x, y]))
  const shown = spaced(places, LABEL)
  return (
    <div aria-hidden="true" className="pointer-events-none absolute inset-0">
      {map.regions.map(({ name }, i) => {
        const [x, y] = places[i] ?? [0, 0]
        const isInside = x > 0 && y > 0 && x < size.width && y < size.height
        if (!name || !isInside || !(shown[i] || i === chosen)) return null
        return (
          <span
            key={i}
            // A name of full width stays within the map.
            style={{ left: Math.max(NAME_WIDTH / 2, Math.min(x, size.width - NAME_WIDTH / 2)), top: y, maxWidth: NAME_WIDTH }}
            className={`absolute -translate-x-1/2 -translate-y-1/2 truncate rounded bg-raised/75 px-1 text-xs ${i === chosen ? 'font-semibold text-ink' : 'text-soft'}`}
          >
            {visible(name)}
          </span>
        )
      })}
    </div>
  )
}

/** The feature under the pointer. */
function Pointed({ map, at: { index, x, y }, size }: { map: MapAnswer; at: { index: number; x: number; y: number }; size: Size }) {
  const feature = map.features[index]
  if (feature === undefined) return null
  const right = x > size.width / 2
  return (
    <div
      aria-hidden="true"
      style={{ top: Math.min(y + 12, size.height - 60), ...(right ? { right: size.width - x + 12 } : { left: x + 12 }) }}
      className="pointer-events-none absolute max-w-72 rounded-md border border-edge bg-raised px-2.5 py-1.5 text-xs"
    >
      <p className="flex min-w-0 gap-1.5">
        <FeatureName feature={feature} found={map.found_names[index]} word={map.words[index]} />
      </p>
      <p className="text-soft">fires in {count(map.n_headlines[index] ?? 0)} headlines</p>
    </div>
  )
}

/** The size of an element in pixels, also when it changes. */
function useSize(element: RefObject<HTMLElement | null>): Size {
  const [size, setSize] = useState({ width: 0, height: 0 })
  useEffect(() => {
    if (!element.current) return
    const observer = new ResizeObserver(([entry]) => {
      if (entry) setSize({ width: Math.round(entry.contentRect.width), height: Math.round(entry.contentRect.height) })
    })
    observer.observe(element.current)
    return () => observer.disconnect()
  }, [element])
  return size
}
