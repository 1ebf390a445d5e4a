import { expect, test } from 'vitest'
import { foundThere, setName, without, withMore, withNew, withText, type Sets } from './sets'

const SETS: Sets = { rates: { features: [3, 9], note: 'why', updated_at: 'then' } }
const many = (from: number, n: number) => Array.from({ length: n }, (_, i) => from + i)

test('a name is one line of at most 120 characters, as the server takes it', () => {
  expect(setName('  bad\n\t news\u001c\u0085 ')).toBe('bad news')
  expect(setName(`${'a'.repeat(119)}😀😀`)).toBe(`${'a'.repeat(119)}😀`)
  expect(setName(`${'a'.repeat(119)} b`)).toBe('a'.repeat(119))
  expect(setName('x\ud83d')).toBe('x')
  expect(setName(' \n')).toBe('')
})

test('features are added to a set, which keeps its note, or make a new one', () => {
  expect(withMore(SETS, 'rates', [4, 3])).toEqual({ rates: { features: [3, 4, 9], note: 'why', updated_at: 'then' } })
  expect(withMore(SETS, 'toString', [2, 1, 2])).toEqual({ ...SETS, toString: { features: [1, 2], note: '', updated_at: null } })
})

test.each([
  [() => withMore(SETS, '', [1]), 'Give the set a name.'],
  [() => withMore(SETS, 'new', []), 'at least one feature'],
  [() => withMore(SETS, 'rates', many(10, 999)), 'The set “rates” would have 1,001 features; at most 1,000 are kept.'],
  [() => withMore(Object.fromEntries(many(0, 200).map((n) => [String(n), SETS['rates']])) as Sets, 'new', [1]), 'There are 200 sets already'],
  [() => withNew(SETS, 'rates', [1], ''), 'There is a set “rates” already'],
  [() => withText(SETS, 'gone', 'new', ''), 'The set “gone” was deleted or renamed elsewhere.'],
  [() => withText({ ...SETS, ...withMore({}, 'new', [1]) }, 'rates', 'new', ''), 'There is a set “new” already'],
])('a change that cannot be made is one sentence (%#)', (change, sentence) => {
  expect(change).toThrow(sentence)
})

test('a set is renamed, keeps its name with another note, and is deleted', () => {
  expect(Object.keys(withText(SETS, 'rates', 'cuts', 'n'))).toEqual(['cuts'])
  expect(withText(SETS, 'rates', 'rates', 'n')['rates']).toMatchObject({ features: [3, 9], note: 'n' })
  expect(without(SETS, 'rates')).toEqual({})
})

test('what is found in another SAE is listed once', () => {
  expect(foundThere({ feature: [7, 5, 7, 1], found: [true, true, true, false] })).toEqual([5, 7])
})
