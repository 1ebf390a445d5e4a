import { describe, expect, it } from 'vitest'
import { cellText, describeCondition, exportedCells, rangeOf, readCondition, valuesOn, withConditions } from './columns'

const COLUMNS = ['ticker', 'a', 'a:b', '__proto__']

describe('conditions on columns', () => {
  it('name the longest column that they begin with', () => {
    expect(readCondition('a:b:c', COLUMNS)).toEqual({ column: 'a:b', value: 'c' })
    expect(readCondition('a:x', COLUMNS)).toEqual({ column: 'a', value: 'x' })
    expect(readCondition('__proto__:x', COLUMNS)).toEqual({ column: '__proto__', value: 'x' })
    expect(readCondition('price:1', COLUMNS)).toBeUndefined()
  })

  it('on one column are read and replaced, the others stay', () => {
    const where = ['ticker:AAPL', 'a:b:c', 'ticker:']
    expect(valuesOn(where, COLUMNS, 'ticker')).toEqual(['AAPL', ''])
    expect(valuesOn(where, COLUMNS, 'a')).toEqual([])
    expect(withConditions(where, COLUMNS, 'ticker', ['MSFT'])).toEqual(['a:b:c', 'ticker:MSFT'])
  })

  it.each([
    ['ticker:AAPL', 'ticker: AAPL'],
    ['ticker:', 'ticker: no value'],
    ['a:1..2', 'a: 1 to 2'],
    ['a:1..', 'a: from 1'],
    ['a:..2', 'a: up to 2'],
    ['price:1', 'price:1'],
  ])('%s is shown as %s', (condition, words) => expect(describeCondition(condition, COLUMNS)).toBe(words))

  it('have ends', () => {
    expect(rangeOf(['AAPL', '2024-01..2024-03'])).toEqual(['2024-01', '2024-03'])
    expect(rangeOf(['AAPL'])).toEqual(['', ''])
  })
})

it('cells are text without invisible characters', () => {
  expect([null, undefined, 0, '\u202eevil'].map(cellText)).toEqual(['–', '–', '0', '\ufffdevil'])
})

it('exported cells replace no field of the row', () => {
  const cells = JSON.parse('{"text": "t", "date": 1, "__proto__": 2}') as Record<string, number>
  expect(Object.entries(exportedCells(cells, { text: 'x' }))).toEqual([['text (table)', 't'], ['date', 1], ['__proto__', 2]])
})
