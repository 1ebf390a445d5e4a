/** The points of the map, drawn by deck.gl, which uses WebGL 2 and compiles no code at run time. */

import { Deck, OrthographicView, type OrthographicViewState } from '@deck.gl/core'
import { ScatterplotLayer } from '@deck.gl/layers'
import type { Corner, Rgb } from '../../lib/map'

/** What is drawn: a place, a colour and an opacity (0 to 255) for each point, and the places that are ringed. */
export interface Picture {
  x: readonly number[]
  y: readonly number[]
  rgb: readonly Rgb[]
  /** Points that stand out; undefined: all. */
  chosen: ReadonlySet<number> | undefined
  ringed: readonly number[]
  ring: Rgb
}

/** Where the map is: the place in the middle, and how many pixels its side has. */
export interface Camera {
  middle: Corner
  side: number
}

export interface Plane {
  draw: (picture: Picture) => void
  look: (camera: Camera) => void
  destroy: () => void
}

export interface Reports {
  onCamera: (camera: Camera) => void
  /** A click that moves nothing, in pixels. */
  onClick: (x: number, y: number) => void
  onFailure: () => void
}

const DIMMED = 40
/** How far the map may be zoomed out and in, as sides in pixels. */
const SIDES = [150, 60_000] as const

/** Whether the browser draws WebGL 2. */
export function canDraw(): boolean {
  const context = document.createElement('canvas').getContext('webgl2')
  context?.getExtension('WEBGL_lose_context')?.loseContext()
  return context !== null
}

/** A plane in `parent`, whose size it has. */
export function createPlane(parent: HTMLDivElement, camera: Camera, { onCamera, onClick, onFailure }: Reports): Plane {
  let state = stateOf(camera)
  const deck = new Deck({
    parent,
    views: new OrthographicView(),
    viewState: state,
    deviceProps: { type: 'webgl', webgl: { antialias: false } }, // points have soft edges of their own
    controller: { keyboard: false, inertia: 200, scrollZoom: { speed: 0.02, smooth: false } },
    getCursor: ({ isDragging }) => (isDragging ? 'grabbing' : 'inherit'),
    onViewStateChange: ({ viewState }) => {
      state = viewState
      deck.setProps({ viewState: state })
      onCamera(cameraOf(state))
    },
    onClick: ({ x, y }) => onClick(x, y),
    onError: onFailure,
  })
  return {
    draw: (picture) => deck.setProps({ layers: layersOf(picture) }),
    look: (to) => {
      state = stateOf(to)
      deck.setProps({ viewState: state })
    },
    destroy: () => deck.finalize(),
  }
}

function layersOf({ x, y, rgb, chosen, ringed, ring }: Picture) {
  const positions = new Float32Array(2 * x.length)
  const colours = new Uint8Array(4 * x.length)
  for (let i = 0; i < x.length; i++) {
    positions.set([x[i] ?? 0, y[i] ?? 0], 2 * i)
    const [red, green, blue] = rgb[i] ?? [0, 0, 0]
    colours.set([red, green, blue, chosen && !chosen.has(i) ? DIMMED : 230], 4 * i)
  }
  return [
    new ScatterplotLayer({
      id: 'features',
      data: { length: x.length, attributes: { getPosition: { value: positions, size: 2 }, getFillColor: { value: colours, size: 4, type: 'unorm8' } } },
      getRadius: 0.0016,
      radiusMinPixels: x.length > 8_000 ? 1.6 : 2.4,
      radiusMaxPixels: 8,
    }),
    new ScatterplotLayer<number>({
      id: 'ringed',
      data: [...ringed],
      getPosition: (i) => [x[i] ?? 0, y[i] ?? 0],
      getRadius: 0.004,
      radiusMinPixels: 5,
      radiusMaxPixels: 13,
      filled: false,
      stroked: true,
      getLineColor: [...ring, 255],
      lineWidthUnits: 'pixels',
      getLineWidth: 1.5,
    }),
  ]
}

function stateOf({ middle: [x, y], side }: Camera): OrthographicViewState {
  return { target: [x, y, 0], zoom: Math.log2(side), minZoom: Math.log2(SIDES[0]), maxZoom: Math.log2(SIDES[1]) }
}

function cameraOf({ target, zoom }: OrthographicViewState): Camera {
  const [x = 0.5, y = 0.5] = target ?? []
  return { middle: [x, y], side: 2 ** (Array.isArray(zoom) ? zoom[0] : (zoom ?? 0)) }
}

/** A camera whose side is within its limits. */
export function within({ middle, side }: Camera): Camera {
  return { middle, side: Math.max(SIDES[0], Math.min(SIDES[1], side)) }
}
