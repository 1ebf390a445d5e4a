import { useState, type PointerEvent } from 'react'
import type { Corner } from '../../lib/map'

/** Pixels between two corners that are drawn. */
const APART = 5

/** A lasso over the map: the one that is set, or the one that the pointer draws. */
export function Lasso({ corners, drawing, toPixels, toPlace, onLasso }: {
  corners: Corner[] | undefined
  drawing: boolean
  toPixels: (place: Corner) => Corner
  toPlace: (pixel: Corner) => Corner
  onLasso: (corners: Corner[] | undefined) => void
}) {
  const [drawn, setDrawn] = useState<Corner[]>()
  const at = (event: PointerEvent<SVGSVGElement>): Corner => {
    const { left, top } = event.currentTarget.getBoundingClientRect()
    return [event.clientX - left, event.clientY - top]
  }
  const shown = drawn ?? corners?.map(toPixels)
  return (
    <svg
      aria-hidden="true"
      className={`absolute inset-0 h-full w-full ${drawing ? 'cursor-crosshair touch-none' : 'pointer-events-none'}`}
      onPointerDown={(event) => {
        event.currentTarget.setPointerCapture(event.pointerId)
        setDrawn([at(event)])
      }}
      onPointerMove={(event) => {
        const last = drawn?.at(-1)
        if (!last) return
        const next = at(event)
        if (Math.hypot(next[0] - last[0], next[1] - last[1]) >= APART) setDrawn([...(drawn ?? []), next])
      }}
      onPointerUp={() => {
        if (drawn && drawn.length >= 3) onLasso(drawn.map(toPlace))
        setDrawn(undefined)
      }}
      onPointerCancel={() => setDrawn(undefined)}
    >
      {shown && shown.length > 1 && (
        <polygon points={shown.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(' ')} className="fill-plum/10 stroke-plum" strokeWidth="1.5" strokeDasharray="4 3" />
      )}
    </svg>
  )
}
