import { useDebounced } from '../hooks/useDebounced'

/** A slider with two thumbs: a range of whole steps from 0 to `steps`, both included. */
export function RangeFilter({ label, steps, range, describe, onRange }: {
  label: string
  steps: number
  range: readonly [low: number, high: number]
  /** The text of a step for screen readers. */
  describe: (step: number) => string
  onRange: (low: number, high: number) => void
}) {
  const low = useDebounced(range[0], (next) => onRange(Math.min(next, range[1]), range[1]))
  const high = useDebounced(range[1], (next) => onRange(range[0], Math.max(next, range[0])))
  const share = (step: number) => `${(100 * step) / steps}%`
  const thumbs = [
    { name: `${label}, at least`, value: Math.min(low.draft, high.draft), set: (n: number) => low.type(Math.min(n, high.draft)) },
    { name: `${label}, at most`, value: high.draft, set: (n: number) => high.type(Math.max(n, low.draft)) },
  ]
  return (
    <div role="group" aria-label={label} className="range">
      <span aria-hidden="true" className="range-line" style={{ left: share(thumbs[0]?.value ?? 0), right: share(steps - high.draft) }} />
      {thumbs.map(({ name, value, set }, i) => (
        <input
          key={name}
          type="range"
          min={0}
          max={steps}
          step={1}
          aria-label={name}
          aria-valuetext={describe(value)}
          value={value}
          onChange={(event) => set(Number(event.target.value))}
          // When both thumbs are at the right end, the left one must be on top to be movable.
          style={{ zIndex: i === 0 && value > steps / 2 ? 2 : 1 }}
        />
      ))}
    </div>
  )
}
