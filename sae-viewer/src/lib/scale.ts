/** Ticks of chart axes. */

/** Round values inside a range on a logarithmic axis: 1, 2 and 5 of each decade, or only 1 where those are more than `most`. */
export function logTicks(from: number, to: number, most = 9): number[] {
  const decades = Array.from({ length: 24 }, (_, i) => i - 12)
  const inside = decades
    .flatMap((power) => [1, 2, 5].map((digit) => Number(`${digit}e${power}`)))
    .filter((value) => value >= from && value <= to)
  return inside.length <= most ? inside : inside.filter((value) => Number.isInteger(Math.round(Math.log10(value) * 1e6) / 1e6))
}

/** Evenly spaced round values that cover a range, about `about` of them. */
export function ticks(from: number, to: number, about = 5): number[] {
  const raw = (to - from) / about
  if (!(raw > 0)) return [from]
  const power = 10 ** Math.floor(Math.log10(raw))
  const step = ([1, 2, 5, 10].find((digit) => digit * power >= raw) ?? 10) * power
  const first = Math.floor(from / step)
  const last = Math.ceil(to / step)
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)))
}
