/** Density, the share of tokens on which a feature fires, on a logarithmic scale. */

interface Bins {
  /** log10 of the share; one more entry than `counts`. */
  edges: number[]
  counts: number[]
}

/** The bins from the first to the last that holds a feature; empty where none does. */
export function trimmed({ edges, counts }: Bins): Bins {
  const first = counts.findIndex((n) => n > 0)
  const last = counts.findLastIndex((n) => n > 0)
  if (first < 0) return { edges: [], counts: [] }
  return { edges: edges.slice(first, last + 2), counts: counts.slice(first, last + 1) }
}

/** The share at an edge, rounded to three digits so that an address stays short. */
export function densityAt(edges: readonly number[], step: number): number {
  return Math.min(1, Number((10 ** (edges[step] ?? 0)).toPrecision(3)))
}

/** The edge that is nearest to a share. */
export function nearestEdge(edges: readonly number[], share: number): number {
  const wanted = Math.log10(Math.max(share, 1e-12))
  let nearest = 0
  edges.forEach((edge, i) => {
    if (Math.abs(edge - wanted) < Math.abs((edges[nearest] ?? 0) - wanted)) nearest = i
  })
  return nearest
}
