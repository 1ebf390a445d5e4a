import type { RunMetadata, SaeReport } from '../../interpAPI'

export interface Point {
  size: string
  /** Of the run itself, not only of its family. */
  own: boolean
  train: { l0: number; fvu: number }
  held_out: { l0: number; fvu: number }
}

export interface Series {
  run: string
  points: Point[]
}

/** The SAEs of a run's family by L0 and FVU; the run's own where it names no others. */
export function points(run: RunMetadata): Series {
  const family: [string, SaeReport][] = Object.entries(run.sae_family)
  const own: [string, SaeReport] = [run.sae.size, run.sae.report]
  const all = family.length > 0 ? family : [own]
  return {
    run: run.run_id,
    points: all.map(([size, { train, held_out }]) => ({ size, own: size === run.sae.size, train, held_out })),
  }
}

/** Several runs: each with its own SAE; a family that two of them share is drawn once, with the first. */
export function sideBySide(runs: RunMetadata[]): Series[] {
  const seen = new Set<string>()
  return runs.map((run) => {
    const family = JSON.stringify(run.sae_family)
    const all = points(run)
    if (!seen.has(family)) {
      seen.add(family)
      return all
    }
    return { ...all, points: all.points.filter(({ own }) => own) }
  })
}
