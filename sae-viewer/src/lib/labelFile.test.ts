import { expect, test } from 'vitest'
import { csv } from './download'
import { readLabels, withImported } from './labelFile'

const HOSTILE = '<img src=x onerror=alert(1)>'

test('what the panel saves is read again, as CSV and as JSON', () => {
  const rows = [
    { feature: 3, name: '=SUM(1), "quoted"', starred: true, note: 'two\r\nlines', updated_at: null },
    { feature: 7, name: HOSTILE, starred: false, note: '', updated_at: '2026-01-01' },
  ]
  for (const text of [csv(rows), JSON.stringify({ sae_hash: 'x', labels: rows }), JSON.stringify(rows)]) {
    const { labels, unknown, unreadable } = readLabels(text, 100)
    expect([...labels]).toEqual(rows.map(({ feature, name, starred, note }) => [feature, { name, starred, note }]))
    expect([unknown, unreadable]).toEqual([[], 0])
  }
})

test('ten thousand names with unknown numbers: each row is a label, unknown or unreadable', () => {
  const rows = Array.from({ length: 10_000 }, (_, n) => ({ feature: 2 * n, name: `${HOSTILE} ${n}` }))
  const { labels, unknown, unreadable } = readLabels(csv([...rows, { feature: -1, name: 'x' }, { feature: 0, name: 'twice' }]), 4096)
  expect([labels.size, unknown.length, unreadable]).toEqual([2048, 7952, 2])
  expect(labels.get(4094)?.name).toBe(`${HOSTILE} 2047`)
})

test.each([
  ['', 'has no annotations'],
  ['{"labels": 3}', 'without “labels”'],
  ['{', 'is no JSON'],
  ['a,b\n1,2', 'has no annotations'],
  [`feature,name\n${'1,x\n'.repeat(20_001)}`, 'has 20,001 rows'],
  [`feature,name\n1,"${'a'.repeat(4 << 20)}`, 'quotation mark is not closed'],
  [`a,b\n1,${'""'.repeat(2 << 20)}x`, 'has no annotations'],
  ['x'.repeat((8 << 20) + 1), 'larger than 8 MiB'],
])('a file without labels is refused: %.12s', (text, sentence) => {
  expect(() => readLabels(text, 10)).toThrow(sentence)
})

test('no half of a surrogate pair is sent: the server would refuse all labels', () => {
  const { labels } = readLabels(JSON.stringify([{ feature: 1, name: `${'a'.repeat(119)}😀😀` }, { feature: 2, name: 'b\ud83d' }]), 10)
  expect([...labels.values()].map(({ name }) => name)).toEqual([`${'a'.repeat(119)}😀`, 'b'])
})

test('sets are read from JSON, alone too; what is no set is counted, and a set that is there stays', () => {
  const one = { features: [3, 1], note: ' why ', updated_at: '2026-01-01' }
  const sets = { ' bad\n news ': one, ['__proto__']: one, mine: one, far: { features: [10] }, none: { features: [] }, odd: { features: ['1'] }, list: [1], '\n': one }
  const file = readLabels(JSON.stringify({ sae_hash: 'x', labels: [], sets }), 10)
  expect(Object.keys(file.sets)).toEqual(['bad news', '__proto__', 'mine'])
  expect(file.sets['bad news']).toEqual({ features: [3, 1], note: 'why', updated_at: null })
  expect([file.labels.size, file.unreadable]).toEqual([0, 5])
  const mine = { features: [7], note: '', updated_at: 'then' }
  const { change, sets: added } = withImported({ labels: {}, sets: { mine } }, file)
  expect(added).toBe(2)
  expect(Object.keys(change.sets ?? {}).sort()).toEqual(['__proto__', 'bad news', 'mine'])
  expect(change.sets?.['mine']).toEqual(mine)
  expect(change.sets?.['bad news']?.features).toEqual([1, 3])
})

test('names and notes that are there stay', () => {
  const present = { 1: { name: 'mine', starred: false, note: '', updated_at: 'then' } }
  const file = readLabels('feature,name,starred,note\n1,theirs,true,why\n2,new,false,', 10)
  const { change, added, kept } = withImported({ labels: present, sets: {} }, file)
  expect(change.sets).toBeNull()
  expect(change.labels).toEqual({
    1: { name: 'mine', starred: true, note: 'why', updated_at: 'then' },
    2: { name: 'new', starred: false, note: '', updated_at: null },
  })
  expect([added, kept]).toEqual([1, 1])
})
