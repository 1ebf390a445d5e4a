/** The map of features: what a lasso holds, what they are called, and which colour a point has. */

/** A corner of a lasso, in the unit square of the map. */
export type Corner = readonly [x: number, y: number]

/** The most corners of a lasso, so that it fits into an address. */
export const MOST_CORNERS = 40
/** The steps into which an address divides each side of the map. */
const STEPS = 1_000

/** A lasso as an address has it: "120,340 200,410 …", in thousandths of the map. */
export function writeLasso(corners: readonly Corner[]): string {
  return thinned(corners)
    .map(([x, y]) => `${Math.round(x * STEPS)},${Math.round(y * STEPS)}`)
    .join(' ')
}

/** The lasso that an address has; undefined where it is none. */
export function readLasso(written: string): Corner[] | undefined {
  const corners = written.split(' ').map((corner) => /^(-?\d{1,4}),(-?\d{1,4})$/.exec(corner))
  if (corners.length < 3 || corners.length > MOST_CORNERS) return undefined
  const found = corners.flatMap((match) => (match ? [[Number(match[1]) / STEPS, Number(match[2]) / STEPS] as const] : []))
  return found.length === corners.length ? found : undefined
}

/** At most `MOST_CORNERS` corners, evenly spread over those that were drawn. */
function thinned(corners: readonly Corner[]): readonly Corner[] {
  if (corners.length <= MOST_CORNERS) return corners
  return Array.from({ length: MOST_CORNERS }, (_, i) => corners[Math.floor((i * corners.length) / MOST_CORNERS)] ?? [0, 0])
}

/** The indices of the points inside a lasso, by the even-odd rule. */
export function inLasso(corners: readonly Corner[], x: readonly number[], y: readonly number[]): number[] {
  const found: number[] = []
  for (let i = 0; i < x.length; i++) if (isInside(corners, x[i] ?? 0, y[i] ?? 0)) found.push(i)
  return found
}

function isInside(corners: readonly Corner[], x: number, y: number): boolean {
  let inside = false
  let [fromX, fromY] = corners.at(-1) ?? [0, 0]
  for (const [toX, toY] of corners) {
    if (fromY > y !== toY > y && x < ((toX - fromX) * (y - fromY)) / (toY - fromY) + fromX) inside = !inside
    ;[fromX, fromY] = [toX, toY]
  }
  return inside
}

/** The index of the point nearest to a place, of those within a distance; undefined where there is none. */
export function nearestPoint(x: readonly number[], y: readonly number[], [toX, toY]: Corner, within: number): number | undefined {
  let found: number | undefined
  let least = within * within
  for (let i = 0; i < x.length; i++) {
    const apart = ((x[i] ?? 0) - toX) ** 2 + ((y[i] ?? 0) - toY) ** 2
    if (apart <= least) [found, least] = [i, apart]
  }
  return found
}

export interface NameCount {
  /** A part of a found name, or the strongest word of a feature without one. */
  name: string
  /** The chosen features that are called so. */
  n: number
  /** All features on the map that are called so. */
  total: number
}

/** What several of the chosen points are called, whatever the case: the names of the most features first, then those rarest elsewhere. */
export function sharedNames(names: readonly (readonly string[])[], chosen: readonly number[], most: number): NameCount[] {
  const everywhere = tally(names)
  return [...tally(chosen.map((i) => names[i] ?? []))]
    .filter(([, { n }]) => n > 1)
    .map(([folded, { name, n }]) => ({ name, n, total: everywhere.get(folded)?.n ?? n }))
    .sort((one, other) => other.n - one.n || one.total - other.total || one.name.localeCompare(other.name))
    .slice(0, most)
}

/** How many points have each name, by its lower case, and how the first of them writes it. */
function tally(names: readonly (readonly string[])[]): Map<string, { name: string; n: number }> {
  const counts = new Map<string, { name: string; n: number }>()
  for (const name of names.flat()) {
    if (!/[\p{L}\p{N}]/u.test(name)) continue
    const folded = name.toLowerCase()
    const known = counts.get(folded)
    counts.set(folded, { name: known?.name ?? name, n: (known?.n ?? 0) + 1 })
  }
  return counts
}

// --- colours ---------------------------------------------------------------------------------------------

export type Rgb = readonly [red: number, green: number, blue: number]

/** The colours of a scale, from its low end to its high end. */
export type Scale = readonly Rgb[]

/** Where each value stands between the ends of a scale, 0 to 1; undefined where it is not known. */
export function positions(values: readonly number[], kind: 'density' | 'effect' | 'stability'): (number | undefined)[] {
  if (kind === 'stability') return values.map((value) => (value < 0 ? undefined : value))
  if (kind === 'effect') {
    const largest = extent(values)
    return values.map((value) => 0.5 + Math.max(-0.5, Math.min(0.5, value / (2 * largest))))
  }
  const [low, high] = densityRange(values)
  return values.map((value) => (value > 0 ? Math.max(0, Math.min(1, (Math.log10(value) - low) / (high - low))) : undefined))
}

/** The effect at the ends of its scale: the 99th percentile by size, so that a few strong features do not hide the rest. */
export function extent(values: readonly number[]): number {
  const sizes = values.map(Math.abs).sort((one, other) => one - other)
  return sizes[Math.floor(0.99 * (sizes.length - 1))] || sizes.at(-1) || 1
}

/** The ends of the scale of densities, as powers of 10. */
export function densityRange(values: readonly number[]): [low: number, high: number] {
  const live = values.filter((value) => value > 0)
  if (live.length === 0) return [-4, 0]
  const low = Math.log10(live.reduce((least, value) => Math.min(least, value)))
  const high = Math.log10(live.reduce((most, value) => Math.max(most, value)))
  return high - low > 1e-9 ? [low, high] : [low - 1, high]
}

/** The colour at a position of a scale. */
export function colourAt(scale: Scale, position: number): Rgb {
  const place = Math.max(0, Math.min(1, position)) * (scale.length - 1)
  const from = scale[Math.floor(place)] ?? [0, 0, 0]
  const to = scale[Math.ceil(place)] ?? from
  const share = place - Math.floor(place)
  const mixed = (i: 0 | 1 | 2) => Math.round(from[i] + share * (to[i] - from[i]))
  return [mixed(0), mixed(1), mixed(2)]
}

/** Which labels are drawn, so that no two of them overlap: the first ones before the others. */
export function spaced(places: readonly Corner[], apart: readonly [x: number, y: number]): boolean[] {
  const kept: Corner[] = []
  return places.map(([x, y]) => {
    const free = kept.every(([otherX, otherY]) => Math.abs(x - otherX) >= apart[0] || Math.abs(y - otherY) >= apart[1])
    if (free) kept.push([x, y])
    return free
  })
}
