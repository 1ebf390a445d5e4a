import { useId, useLayoutEffect, useRef, useState, type ReactNode } from 'react'
import { pngOf, saveFile, standaloneSvg } from '../lib/download'
import { SaveButtons } from './SaveButtons'

/** The narrowest chart, in pixels. */
const NARROWEST = 240

/** A chart with its title, a sentence that says how to read it, and buttons that save it. */
export function Figure({ title, name, aside, caption, children }: {
  title: string
  /** The name of the saved file, without its ending. */
  name: string
  /** The value under the pointer, or a legend. */
  aside?: ReactNode
  caption: string
  /** Draws an `svg` of the given width, labelled by the title's id. */
  children: (width: number, titleId: string) => ReactNode
}) {
  const id = useId()
  const [box, width] = useWidth()
  const chart = () => box.current?.querySelector('svg')
  return (
    <figure ref={box} className="min-w-0">
      <figcaption className="mb-2 flex flex-wrap items-center gap-x-4 border-b border-line pb-2">
        <span id={id} className="font-serif text-lg">{title}</span>
        <span aria-live="polite" className="text-xs text-soft tabular-nums">
          {aside}
        </span>
        <SaveButtons
          className="ml-auto"
          what={title}
          ways={{
            SVG: () => {
              const svg = chart()
              if (svg) saveFile(`${name}.svg`, standaloneSvg(svg), 'image/svg+xml')
            },
            PNG: async () => {
              const svg = chart()
              if (svg) saveFile(`${name}.png`, await pngOf(svg))
            },
          }}
        />
      </figcaption>
      {children(width, id)}
      <p className="mt-1.5 text-xs text-soft">{caption}</p>
    </figure>
  )
}

/** The width of an element in pixels, so that the chart keeps its type size. It is measured before the first paint. */
function useWidth() {
  const box = useRef<HTMLElement>(null)
  const [width, setWidth] = useState(NARROWEST)
  useLayoutEffect(() => {
    const element = box.current
    if (!element) return
    const measure = () => setWidth(Math.max(NARROWEST, element.clientWidth))
    measure()
    const observer = new ResizeObserver(measure)
    observer.observe(element)
    return () => observer.disconnect()
  }, [])
  return [box, width] as const
}
