import { useMemo, useSyncExternalStore } from 'react'
import { useTheme } from '../../hooks/useTheme'
import type { MapAnswer } from '../../interpAPI'
import { classLook, isMany } from '../../lib/classes'
import { colourAt, positions, type Rgb, type Scale } from '../../lib/map'

/** What the colour of a point says. */
export interface Colouring {
  /** `leaning` or the name of a column. */
  name: string
  /** The CSS colours of its scale, from its low end to its high end; none for classes. */
  scale: string[]
  rgb: Rgb[]
}

const UNKNOWN = 'var(--color-line)'

/** The scale of a column as CSS colours. The middle of a scale of effects stands for none. */
function scaleOf({ name, kind }: MapAnswer['columns'][number], labels: readonly string[]): string[] {
  if (kind === 'density') return [2, 3, 4, 5, 6, 7, 8].map((step) => `var(--heat-${step})`)
  if (kind === 'stability') return ['var(--color-line)', 'var(--color-class-4)']
  const index = labels.findIndex((label) => name === `effect_${label.toLowerCase()}`)
  return ['var(--color-ink)', 'var(--color-line)', classLook(labels, index).color]
}

/** What colours the map where the address does not say it. */
export function usualColour({ labels }: MapAnswer): string {
  return isMany(labels) ? 'density' : 'leaning'
}

/** The colour of every feature of the map, in the present theme. */
export function useColours(map: MapAnswer, chosen: string): Colouring {
  const [theme] = useTheme()
  const dark = useSyncExternalStore(onScheme, isDark)
  return useMemo(() => {
    const column = map.columns.find(({ name }) => name === chosen)
    if (!column) {
      const colours = map.labels.map((_, index) => rgbOf(classLook(map.labels, index).color))
      const none = rgbOf(UNKNOWN)
      return { name: 'leaning', scale: [], rgb: map.leaning.map((index) => colours[index] ?? none) }
    }
    const scale = scaleOf(column, map.labels)
    const colours: Scale = scale.map(rgbOf)
    const none = rgbOf(UNKNOWN)
    const rgb = positions(column.values, column.kind).map((at) => (at === undefined ? none : colourAt(colours, at)))
    return { name: column.name, scale, rgb }
    // eslint-disable-next-line react-hooks/exhaustive-deps -- the colours of the style sheet are those of the theme
  }, [map, chosen, theme, dark])
}

/** A CSS colour, which may name variables of the theme, as red, green and blue from 0 to 255. */
export function rgbOf(color: string): Rgb {
  const probe = document.createElement('span')
  probe.style.color = color
  document.body.append(probe)
  const computed = getComputedStyle(probe).color
  probe.remove()
  const canvas = document.createElement('canvas')
  canvas.width = canvas.height = 1
  const context = canvas.getContext('2d')
  if (!context) return [128, 128, 128]
  context.fillStyle = computed
  context.fillRect(0, 0, 1, 1)
  const [red = 0, green = 0, blue = 0] = context.getImageData(0, 0, 1, 1).data
  return [red, green, blue]
}

const scheme = window.matchMedia('(prefers-color-scheme: dark)')
const isDark = () => scheme.matches

function onScheme(notify: () => void): () => void {
  scheme.addEventListener('change', notify)
  return () => scheme.removeEventListener('change', notify)
}
