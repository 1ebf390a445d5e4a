import { useVirtualizer, useWindowVirtualizer, type VirtualItem, type Virtualizer } from '@tanstack/react-virtual'
import { useEffect, useImperativeHandle, useRef, useState, type ReactNode, type Ref, type RefObject } from 'react'
import { useKeys } from '../hooks/useKeys'
import type { Range } from '../hooks/usePages'

/** The greatest height that browsers lay out, in pixels (Chromium: 33,554,430). */
const MAX_HEIGHT = 30_000_000
/** The height of the page's header, in pixels. */
const HEADER = 56

export interface VirtualListHandle {
  /** Scrolls a row into sight and focuses it. */
  focusRow: (row: number) => void
  /** Scrolls a row into sight without focusing it. */
  showRow: (row: number) => void
}

interface Props {
  /** Rows in the whole list. */
  count: number
  /** The estimated height of a row in pixels; each row is measured once it is drawn. */
  estimate: number
  label: string
  row: (row: number) => ReactNode
  onRange: (range: Range) => void
  /** Names the list's content; measured heights are kept under this name. */
  contents: string
  /** A row that is scrolled into sight at the beginning. */
  reveal?: number | undefined
  handle?: Ref<VirtualListHandle>
  className?: string
  /** Whether j, k and the arrow keys move through the rows; true by default. */
  keys?: boolean
}

/** How many of `count` rows can be laid out. */
export function reachable(count: number, estimate: number): number {
  return Math.min(count, Math.floor(MAX_HEIGHT / (2 * estimate)))
}

const measured = new Map<string, VirtualItem[]>()

/** A list that scrolls with the page and draws only the rows in sight. */
export function PageList(props: Props) {
  const box = useRef<HTMLOListElement>(null)
  const [margin, setMargin] = useState(0)
  useEffect(() => {
    // The list moves when something above it changes its height, such as a notice.
    const observer = new ResizeObserver(() => {
      if (box.current) setMargin(Math.round(box.current.getBoundingClientRect().top + window.scrollY))
    })
    observer.observe(document.body)
    return () => observer.disconnect()
  }, [])
  const virtualizer = useWindowVirtualizer<HTMLLIElement>({
    ...common(props),
    scrollMargin: margin,
    scrollPaddingStart: HEADER + 8,
    scrollPaddingEnd: 8,
  })
  return <Rows {...props} box={box} virtualizer={virtualizer} margin={margin} />
}

/** A list that scrolls inside `pane` and draws only the rows in sight. */
export function PaneList({ pane, ...props }: Props & { pane: RefObject<HTMLElement | null> }) {
  const box = useRef<HTMLOListElement>(null)
  const virtualizer = useVirtualizer<HTMLElement, HTMLLIElement>({
    ...common(props),
    getScrollElement: () => pane.current,
  })
  return <Rows {...props} box={box} virtualizer={virtualizer} margin={0} />
}

function common({ count, estimate, contents }: Props) {
  return {
    count: reachable(count, estimate),
    estimateSize: () => estimate,
    overscan: 6,
    initialMeasurementsCache: measured.get(contents) ?? [],
  }
}

interface RowsProps extends Props {
  box: RefObject<HTMLOListElement | null>
  virtualizer: Virtualizer<Window, HTMLLIElement> | Virtualizer<HTMLElement, HTMLLIElement>
  margin: number
}

function Rows({ box, virtualizer, margin, label, row, onRange, contents, reveal, handle, className, keys }: RowsProps) {
  const items = virtualizer.getVirtualItems()
  const count = virtualizer.options.count
  const goal = useRef<number | null>(null)

  const first = items[0]?.index ?? 0
  const last = items.at(-1)?.index ?? 0
  useEffect(() => onRange([first, last]), [first, last, onRange])

  // eslint-disable-next-line react-hooks/exhaustive-deps -- only at the beginning
  useEffect(() => (reveal === undefined ? undefined : virtualizer.scrollToIndex(reveal, { align: 'start' })), [])
  useEffect(
    () => () => {
      measured.set(contents, virtualizer.takeSnapshot())
    },
    [contents, virtualizer],
  )

  // A distant row is drawn some frames after the list was scrolled to it, and is focused then.
  useEffect(() => {
    if (goal.current === null) return
    const element = box.current?.querySelector<HTMLElement>(`[data-index="${goal.current}"]`)
    if (!element) return
    const target = element.querySelector<HTMLElement>('[data-row]') ?? element
    target.focus({ preventScroll: true })
    goal.current = null
  })

  function focusRow(to: number) {
    const wanted = Math.min(Math.max(to, 0), count - 1)
    if (count === 0) return
    goal.current = wanted
    virtualizer.scrollToIndex(wanted, { align: 'auto' })
    const element = box.current?.querySelector<HTMLElement>(`[data-index="${wanted}"]`)
    if (!element) return
    ;(element.querySelector<HTMLElement>('[data-row]') ?? element).focus({ preventScroll: true })
    goal.current = null
  }
  useImperativeHandle(handle, () => ({
    focusRow,
    showRow: (wanted) => virtualizer.scrollToIndex(wanted, { align: 'auto' }),
  }))

  function focused(): number | undefined {
    const element = document.activeElement?.closest<HTMLElement>('[data-index]')
    return element && box.current?.contains(element) ? Number(element.dataset['index']) : undefined
  }
  const top = () => virtualizer.range?.startIndex ?? 0
  const walk = (by: 1 | -1) => {
    const at = focused()
    focusRow(at === undefined ? top() : at + by)
  }
  const arrow = (by: 1 | -1) => (focused() === undefined ? false : walk(by))
  useKeys(
    keys === false
      ? {}
      : { j: () => walk(1), k: () => walk(-1), ArrowDown: () => arrow(1), ArrowUp: () => arrow(-1) },
  )

  return (
    <ol ref={box} aria-label={label} className={`relative ${className ?? ''}`} style={{ height: virtualizer.getTotalSize() }}>
      {items.map((item) => (
        <li
          key={item.key}
          ref={virtualizer.measureElement}
          data-index={item.index}
          aria-setsize={count}
          aria-posinset={item.index + 1}
          tabIndex={-1}
          className="absolute inset-x-0 top-0 outline-offset-[-2px]"
          style={{ transform: `translateY(${item.start - margin}px)` }}
        >
          {row(item.index)}
        </li>
      ))}
    </ol>
  )
}
