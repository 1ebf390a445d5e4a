import { describe, expect, it } from 'vitest'
import { colourAt, densityRange, inLasso, MOST_CORNERS, nearestPoint, positions, readLasso, sharedNames, spaced, writeLasso, type Corner } from './map'

const SQUARE: Corner[] = [[0.2, 0.2], [0.8, 0.2], [0.8, 0.8], [0.2, 0.8]]

describe('a lasso', () => {
  it('is read as it was written', () => {
    expect(readLasso(writeLasso(SQUARE))).toEqual(SQUARE)
  })

  it('has at most as many corners as an address has room for', () => {
    const circle = Array.from({ length: 500 }, (_, i): Corner => [0.5 + 0.4 * Math.cos(i / 80), 0.5 + 0.4 * Math.sin(i / 80)])
    const read = readLasso(writeLasso(circle))
    expect(read).toHaveLength(MOST_CORNERS)
    expect(inLasso(read ?? [], [0.5, 0.95], [0.5, 0.95])).toEqual([0])
  })

  it.each(['', '1,2', '1,2 3,4', '1,2 3,4 x,5', '1,2 3,4 5', '1,2 3,4 99999,5', Array.from({ length: 41 }, () => '1,1').join(' ')])('is none: %j', (written) => {
    expect(readLasso(written)).toBeUndefined()
  })

  it('holds the points inside, also of a shape that is not convex', () => {
    const horseshoe: Corner[] = [[0, 0], [1, 0], [1, 1], [0.7, 1], [0.7, 0.3], [0.3, 0.3], [0.3, 1], [0, 1]]
    expect(inLasso(SQUARE, [0.5, 0.1, 0.79, 0.5], [0.5, 0.5, 0.21, 0.9])).toEqual([0, 2])
    expect(inLasso(horseshoe, [0.1, 0.5, 0.9, 0.5], [0.9, 0.9, 0.9, 0.1])).toEqual([0, 2, 3])
  })
})

it('finds the nearest point, but none that is far', () => {
  expect(nearestPoint([0, 0.5, 0.6], [0, 0.5, 0.5], [0.56, 0.5], 0.1)).toBe(2)
  expect(nearestPoint([0, 0.5, 0.6], [0, 0.5, 0.5], [0.3, 0.3], 0.1)).toBeUndefined()
})

it('counts the names that chosen features share, whatever their case', () => {
  const names = [['Cut'], ['cut', 'a percentage'], ['rise'], [], ['cut'], ['Fed'], ['—'], ['Rise'], ['—']]
  expect(sharedNames(names, [0, 1, 2, 5, 6, 7, 8], 5)).toEqual([
    { name: 'rise', n: 2, total: 2 },
    { name: 'Cut', n: 2, total: 3 },
  ])
  expect(sharedNames(names, [0, 1, 2, 5, 6, 7, 8], 1)).toHaveLength(1)
  expect(sharedNames(names, [0, 2, 5], 5)).toEqual([])
})

describe('positions on a scale', () => {
  it('has no effect in the middle, and cuts the strongest', () => {
    const values = [...Array.from({ length: 200 }, (_, i) => (i - 100) / 100), 50]
    const found = positions(values, 'effect')
    expect(found[100]).toBe(0.5)
    expect(found.at(-1)).toBe(1)
    expect(found[0]).toBeCloseTo(0, 1)
  })

  it('is logarithmic for densities, and unknown where a feature does not fire', () => {
    expect(positions([0.001, 0.01, 0.1, 0], 'density')).toEqual([0, 0.5, 1, undefined])
    expect(densityRange([])).toEqual([-4, 0])
    expect(positions([0.1, 0.1], 'density')).toEqual([1, 1])
  })

  it('is unknown where there is no evidence of stability', () => {
    expect(positions([-1, 0, 0.7], 'stability')).toEqual([undefined, 0, 0.7])
  })

  it('mixes the colours of a scale', () => {
    expect(colourAt([[0, 0, 0], [100, 200, 50]], 0.5)).toEqual([50, 100, 25])
    expect(colourAt([[0, 0, 0], [100, 200, 50]], 7)).toEqual([100, 200, 50])
  })
})

it('draws no label over an earlier one', () => {
  expect(spaced([[0, 0], [10, 5], [10, 30], [200, 2]], [100, 20])).toEqual([true, false, true, true])
})
