import { describe, expect, test } from 'vitest'
import { mergeLabel, NO_LABEL, type LabelText } from './labels'

const label = (change: Partial<LabelText>): LabelText => ({ ...NO_LABEL, ...change })

describe('mergeLabel', () => {
  test('changes of different fields are both kept', () => {
    const merged = mergeLabel(NO_LABEL, label({ name: 'beats' }), label({ starred: true, note: 'see also 7' }))
    expect(merged).toEqual({ label: label({ name: 'beats', starred: true, note: 'see also 7' }), conflicts: [] })
  })

  test('a field that I did not change has their value, even where they removed it', () => {
    const base = label({ name: 'old', note: 'long' })
    expect(mergeLabel(base, label({ name: 'new', note: 'long' }), label({ name: 'old' })).label).toEqual(label({ name: 'new' }))
  })

  test('the same change twice is no conflict, two different changes are one', () => {
    expect(mergeLabel(NO_LABEL, label({ name: 'cuts' }), label({ name: 'cuts' })).conflicts).toEqual([])
    const merged = mergeLabel(label({ name: 'a' }), label({ name: 'b' }), label({ name: 'c' }))
    expect(merged).toEqual({ label: label({ name: 'b' }), conflicts: ['name'] })
  })
})
