/** An estimate as a dot and its 95 % interval as a whisker, on a scale with a reference line. */
export function Interval({ value, low, high, from, to, line, color }: {
  value: number
  low: number | null
  high: number | null
  from: number
  to: number
  /** The value without any effect, marked by a line. */
  line: number
  color: string
}) {
  const at = (x: number) => `${Math.min(100, Math.max(0, (100 * (x - from)) / (to - from)))}%`
  return (
    <span aria-hidden="true" className="relative block h-3.5">
      <span className="absolute inset-x-0 top-1/2 h-px bg-line" />
      <span className="absolute inset-y-0 w-px bg-edge" style={{ left: at(line) }} />
      {low !== null && high !== null && (
        <span
          className="absolute top-[calc(50%-1px)] h-0.5"
          style={{ left: at(low), width: `calc(${at(high)} - ${at(low)})`, backgroundColor: color }}
        />
      )}
      <span
        className="absolute top-1/2 size-2 -translate-1/2 rounded-full ring-2 ring-paper"
        style={{ left: at(value), backgroundColor: color }}
      />
    </span>
  )
}

/** A share as a bar on a track. */
export function Bar({ share, color = 'var(--color-bar)' }: { share: number; color?: string }) {
  return (
    <span aria-hidden="true" className="block h-1.5 rounded-[2px] bg-sunk">
      <span
        className="block h-full rounded-[2px]"
        style={{ width: `${Math.min(100, Math.max(0, 100 * share))}%`, backgroundColor: color }}
      />
    </span>
  )
}
