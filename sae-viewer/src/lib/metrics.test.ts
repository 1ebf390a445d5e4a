import { describe, expect, it } from 'vitest'
import { classMetrics } from './metrics'

const named = (...labels: string[]) => labels.map((label) => ({ name: label.toLowerCase(), label }))

describe('metrics of classes', () => {
  const labels = ['card', 'lost card', 'fee']

  it('are grouped by what is left of their label', () => {
    const found = classMetrics(named('Mean activation', 'AUROC card', 'AUROC lost card', 'AUROC fee', 'card effect', 'lost card effect', 'fee effect'), labels)
    expect([...found]).toEqual([
      ['auroc card', { group: 'AUROC', label: 0 }],
      ['auroc lost card', { group: 'AUROC', label: 1 }],
      ['auroc fee', { group: 'AUROC', label: 2 }],
      ['card effect', { group: 'Effect', label: 0 }],
      ['lost card effect', { group: 'Effect', label: 1 }],
      ['fee effect', { group: 'Effect', label: 2 }],
    ])
  })

  it('are no group where a class is missing, or where a label is only the name of a class', () => {
    expect(classMetrics(named('Mean card', 'card', 'lost card', 'fee'), labels).size).toBe(0)
  })
})
