import { describe, expect, it } from 'vitest'
import { placeLabels } from './fidelityPoints'

describe('labels of the marks', () => {
  it('stand above marks that lie apart', () => {
    expect(placeLabels([{ x: 0, y: 100 }, { x: 60, y: 100 }]).map(({ dy }) => dy)).toEqual([-12, -12])
  })

  it('cover neither each other nor another mark where marks touch', () => {
    const labels = placeLabels([{ x: 100, y: 110 }, { x: 102, y: 102 }])
    expect(labels[0]?.dy).not.toBe(-12) // the other mark is there
    expect(labels[1]).toEqual({ dx: 0, dy: -12, anchor: 'middle' })
    const three = placeLabels([{ x: 100, y: 100 }, { x: 102, y: 99 }, { x: 101, y: 101 }])
    expect(new Set(three.map(({ anchor, dy }) => `${anchor}${dy}`)).size).toBe(3)
  })
})
