import { describe, expect, it } from 'vitest'
import type { LayersFile } from '../interpAPI'
import { complement, ends, layerCharts, layerRows, range } from './layers'

const at = (value: number, half?: number) => (half === undefined ? { value, low: null, high: null } : { value, low: value - half, high: value + half })
const SAE = { sae_hash: 'ab', size: '4k', kind: 'topk', d_sae: 4096, positions: 'words', l0: at(64, 1), fvu: at(0.2, 0.01), unchanged: at(0.98, 0.01) } as const

function file(saes: number): LayersFile {
  const layers = [2, 4, 6].map((layer, n) => ({
    layer,
    probe_words: at(0.7 + n / 20, 0.02),
    probe_cls: at(0.65, 0.02),
    changed_words: at(0.4 - n / 5, 0.02),
    changed_cls: at(n / 10, 0.01),
    sae: n < saes ? SAE : null,
  }))
  return { accuracy: 0.85, majority: 0.6, layers } as unknown as LayersFile
}

describe('layers side by side', () => {
  it('are two charts, and a third where two layers have an SAE', () => {
    expect([0, 1, 2].map((n) => layerCharts(file(n)).length)).toEqual([2, 2, 3])
    expect(layerCharts(file(2))[2]?.lines.map(({ points }) => points.map(({ layer }) => layer))).toEqual([[2, 4], [2, 4]])
  })

  it('have axes that cover intervals and the classifier', () => {
    const [changed, probes] = layerCharts(file(0))
    expect(changed && range(changed)).toEqual([-0.02, 0.42].map((end) => expect.closeTo(end) as unknown))
    expect(probes && range(probes)).toEqual([0.6, 0.85])
  })

  it('lose what is not kept', () => {
    const lost = complement(at(0.98, 0.01))
    expect([lost.value, lost.low, lost.high]).toEqual([0.02, 0.01, 0.03].map((end) => expect.closeTo(end) as unknown))
    expect(complement(at(0.9))).toMatchObject({ low: null, high: null })
    expect(ends(at(0.5, 0.1))).toBe('40.0 % to 60.0 %')
    expect(ends(at(0.5))).toBe('')
  })

  it('are a row each, with their intervals', () => {
    const rows = layerRows(file(1))
    expect(rows.map(({ layer, sae, fvu_low }) => [layer, sae, fvu_low])).toEqual([[2, '4k', 0.19], [4, '', undefined], [6, '', undefined]])
    expect(rows[0]?.changed_words).toBe(0.4)
    expect(rows[0]?.changed_words_low).toBeCloseTo(0.38)
  })
})
