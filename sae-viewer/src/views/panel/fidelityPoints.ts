import type { RunMetadata, SaeReport } from '../../interpAPI'

export interface Point {
  size: string
  /** Whether it is the run's own SAE and not another of its family. */
  own: boolean
  train: { l0: number; fvu: number }
  held_out: { l0: number; fvu: number }
}

export interface Series {
  run: string
  points: Point[]
}

/** The SAEs of a run's family by L0 and FVU; only the run's own where it names no family. */
export function points(run: RunMetadata): Series {
  const family: [string, SaeReport][] = Object.entries(run.sae_family)
  const own: [string, SaeReport] = [run.sae.size, run.sae.report]
  const all = family.length > 0 ? family : [own]
  return {
    run: run.run_id,
    points: all.map(([size, { train, held_out }]) => ({ size, own: size === run.sae.size, train, held_out })),
  }
}

/** The points of several runs. The other SAEs of a family that several runs share belong to the first of them. */
export function sideBySide(runs: RunMetadata[]): Series[] {
  const families = runs.map(({ sae_family }) => JSON.stringify(sae_family))
  return runs.map((run, i) => {
    const sharing = runs.filter((other, j) => other !== run && families[j] === families[i])
    const taken = new Set(sharing.map(({ sae }) => sae.size))
    const first = families.indexOf(families[i] ?? '') === i
    const all = points(run)
    return { ...all, points: all.points.filter(({ own, size }) => own || (first && !taken.has(size))) }
  })
}

/** The position of a mark's label, in pixels from the mark. */
export interface LabelPlacement {
  dx: number
  dy: number
  anchor: 'middle' | 'start' | 'end'
}

const ABOVE: LabelPlacement = { dx: 0, dy: -12, anchor: 'middle' }
/** In order of preference: above the mark, right, left, below. */
const PLACEMENTS: LabelPlacement[] = [
  ABOVE,
  { dx: 12, dy: 4, anchor: 'start' },
  { dx: -12, dy: 4, anchor: 'end' },
  { dx: 0, dy: 21, anchor: 'middle' },
]
/** The size of a label and the radius of a mark, in pixels. */
const [WORD, LINE, RADIUS] = [26, 13, 5]

/** A position for each mark's label at which it covers neither another label nor another mark, where there is one. */
export function placeLabels(marks: readonly { x: number; y: number }[]): LabelPlacement[] {
  const taken: { x: number; y: number }[] = []
  return marks.map((mark) => {
    const centre = ({ dx, dy, anchor }: LabelPlacement) => ({ x: mark.x + dx + (anchor === 'start' ? WORD / 2 : anchor === 'end' ? -WORD / 2 : 0), y: mark.y + dy })
    const free = (label: LabelPlacement) => {
      const { x, y } = centre(label)
      return (
        taken.every((other) => Math.abs(other.x - x) >= WORD || Math.abs(other.y - y) >= LINE) &&
        marks.every((other) => other === mark || Math.abs(other.x - x) >= WORD / 2 + RADIUS || Math.abs(other.y - (y - LINE / 3)) >= LINE / 2 + RADIUS)
      )
    }
    const label = PLACEMENTS.find(free) ?? ABOVE
    taken.push(centre(label))
    return label
  })
}
