import { describe, expect, test } from 'vitest'
import { mergeLabel, UNSAID, type Said } from './labels'

const label = (change: Partial<Said>): Said => ({ ...UNSAID, ...change })

describe('mergeLabel', () => {
  test('changes of different fields both stay', () => {
    const merged = mergeLabel(UNSAID, label({ name: 'beats' }), label({ starred: true, note: 'see also 7' }))
    expect(merged).toEqual({ label: label({ name: 'beats', starred: true, note: 'see also 7' }), conflicts: [] })
  })

  test('what I did not touch is as theirs, also where they removed it', () => {
    const base = label({ name: 'old', note: 'long' })
    expect(mergeLabel(base, label({ name: 'new', note: 'long' }), label({ name: 'old' })).label).toEqual(label({ name: 'new' }))
  })

  test('the same change twice is no conflict, two different ones are', () => {
    expect(mergeLabel(UNSAID, label({ name: 'cuts' }), label({ name: 'cuts' })).conflicts).toEqual([])
    const merged = mergeLabel(label({ name: 'a' }), label({ name: 'b' }), label({ name: 'c' }))
    expect(merged).toEqual({ label: label({ name: 'b' }), conflicts: ['name'] })
  })
})
