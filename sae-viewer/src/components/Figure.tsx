import { useEffect, useId, useRef, useState, type ReactNode } from 'react'
import { pngOf, saveFile, standaloneSvg } from '../lib/download'
import { SaveButtons } from './SaveButtons'

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
  const [box, width] = useWidth(520)
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

/** The width of an element in pixels, so that the chart keeps its type size; `start` until it is measured. */
function useWidth(start: number) {
  const box = useRef<HTMLElement>(null)
  const [width, setWidth] = useState(start)
  useEffect(() => {
    if (!box.current) return
    const observer = new ResizeObserver(([entry]) => setWidth(Math.max(240, entry?.contentRect.width ?? start)))
    observer.observe(box.current)
    return () => observer.disconnect()
  }, [start])
  return [box, width] as const
}
