import { useEffect, useId, useRef, useState, type ReactNode } from 'react'
import { pngOf, saveFile, standaloneSvg } from '../lib/download'
import { SaveButtons } from './SaveButtons'

/** A drawing with its title, a sentence that says how to read it, and a way to take it along. */
export function Figure({ title, name, aside, caption, children }: {
  title: string
  /** Of the saved file. */
  name: string
  /** What is pointed at. */
  aside?: ReactNode
  caption: string
  /** An `svg` of the given width, described by the given id. */
  children: (width: number, titleId: string) => ReactNode
}) {
  const id = useId()
  const [box, width] = useWidth(520)
  const drawing = () => box.current?.querySelector('svg')
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
              const svg = drawing()
              if (svg) saveFile(`${name}.svg`, standaloneSvg(svg), 'image/svg+xml')
            },
            PNG: async () => {
              const svg = drawing()
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

/** An element's width in pixels, so that the drawing keeps its type size; `start` until it is known. */
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
