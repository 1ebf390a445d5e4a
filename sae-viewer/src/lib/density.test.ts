import { describe, expect, it } from 'vitest'
import { densityAt, nearestEdge, trimmed } from './density'

const edges = [-6, -5, -4, -3, -2, -1, 0]

describe('the density histogram', () => {
  it('is trimmed to the bins that hold features', () => {
    expect(trimmed({ edges, counts: [0, 0, 3, 0, 1, 0] })).toEqual({ edges: [-4, -3, -2, -1], counts: [3, 0, 1] })
    expect(trimmed({ edges, counts: [0, 0, 0, 0, 0, 0] })).toEqual({ edges: [], counts: [] })
    expect(trimmed({ edges, counts: [1, 0, 0, 0, 0, 2] }).edges).toEqual(edges)
  })
  it('finds the edge of the share that an address holds', () => {
    for (const step of edges.keys()) expect(nearestEdge(edges, densityAt(edges, step))).toBe(step)
    const fine = Array.from({ length: 41 }, (_, i) => -6 + 0.15 * i)
    for (const step of fine.keys()) expect(nearestEdge(fine, densityAt(fine, step))).toBe(step)
  })
  it('maps any share to one of its edges', () => {
    expect([0, 1e-9, 1].map((share) => nearestEdge(edges, share))).toEqual([0, 0, 6])
  })
})
