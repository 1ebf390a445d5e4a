/** The other columns of the run's table: slices, orders and values, as `viz_analysis/runs/table_columns.py` has them. */

import { compareByCodePoint } from './letters'
import { keep, maskOf, quoted, refusal, type SharedRun } from './shared'

type Cell = string | number
/** A value of a column in its order, as text, and how many headlines have it. */
type Value = [value: Cell, text: string, headlines: number]

/** Behind every character, so that a range ends with all texts that begin with its end. */
const LAST = '\u{10ffff}'
const NUMBER = /^\s*[+-]?(\d+(_\d+)*\.?(\d+(_\d+)*)?|\.\d+(_\d+)*)(e[+-]?\d+(_\d+)*)?\s*$/i

export async function columnValues(run: SharedRun, { column, q = '', limit = 20 }: { column: string; q?: string; limit?: number }) {
  const n = numberOf(run, column)
  const wanted = asciiLower(q)
  const found = (await run.vector<Value>(`values ${n}`)).filter(([, text]) => text.includes(q) || asciiLower(text).includes(wanted))
  const frequent = found.map((value, place) => ({ value, place })).sort((a, b) => b.value[2] - a.value[2] || a.place - b.place)
  return {
    run_id: run.facts.run_id,
    ...run.facts.columns[n],
    total: found.length,
    values: frequent.slice(0, limit).map(({ value: [value, , n_headlines] }) => ({ value, n_headlines })),
  }
}

/** Which headlines meet all conditions; of several on one column they need to meet one. */
export async function inSlice(run: SharedRun, conditions: readonly string[]): Promise<Uint8Array> {
  const wanted = new Map<number, Uint8Array>()
  for (const condition of conditions) {
    const [n, value] = split(run, condition)
    const places = await placesOf(run, n, value)
    const before = wanted.get(n)
    wanted.set(n, before ? places.map((place, i) => place | (before[i] ?? 0)) : places)
  }
  const mask = new Uint8Array(run.facts.n_headlines).fill(1)
  for (const [n, places] of wanted) {
    const column = await run.vector(`column ${n}`)
    keep(mask, Uint8Array.from(column, (place) => places[place] ?? 0))
  }
  return mask
}

/** All headlines in the order of a column; ties stay in the run's order, and those without a value come last. */
export async function columnOrder(run: SharedRun, column: string, descending: boolean): Promise<number[]> {
  const n = numberOf(run, column)
  const places = await run.vector(`column ${n}`)
  const key = places.map((place) => (place === 0 ? Infinity : descending ? -place : place))
  return places.map((_, i) => i).sort((a, b) => (key[a] === key[b] ? a - b : (key[a] ?? 0) - (key[b] ?? 0)))
}

function numberOf(run: SharedRun, name: string): number {
  const n = run.facts.columns.findIndex((column) => column.name === name)
  if (n < 0) throw refusal(404, 'unknown_column', `${run.facts.run_id} has no column ${quoted(name)}; it has ${known(run)}.`)
  return n
}

function known(run: SharedRun): string {
  const names = run.facts.columns.map(({ name }) => Array.from(name).slice(0, 40).join(''))
  return (names.slice(0, 10).join(', ') + (names.length > 10 ? ` and ${names.length - 10} more` : '')) || 'none'
}

/** [column, value] of a condition; of columns whose names begin alike, the one with the longest name. */
function split(run: SharedRun, condition: string): [n: number, value: string] {
  const found = run.facts.columns.map(({ name }) => name).filter((name) => condition.startsWith(`${name}:`))
  if (found.length === 0) {
    throw refusal(
      404,
      'unknown_column',
      `${run.facts.run_id} has no column for the filter ${quoted(condition)}; write column:value or column:low..high with one of its columns (${known(run)}).`,
    )
  }
  const name = found.reduce((longest, one) => (Array.from(one).length > Array.from(longest).length ? one : longest))
  return [numberOf(run, name), condition.slice(name.length + 1)]
}

/** Which places of column `n` a condition means; place 0 is no value. A value that exists is no range. */
async function placesOf(run: SharedRun, n: number, value: string): Promise<Uint8Array> {
  const column = run.facts.columns[n]
  const values = (await run.vector<Value>(`values ${n}`)).map(([one]) => one)
  const length = 1 + values.length
  if (value === '') return maskOf(length, [0])
  const asNumber = number(value)
  const exact = values.flatMap((one, i) => (one === value || one === asNumber ? [i + 1] : []))
  const at = value.indexOf('..')
  if (exact.length > 0 || at < 0) return maskOf(length, exact)
  const [low, high] = [value.slice(0, at), value.slice(at + 2)]
  const all = values.map((_, i) => i + 1)
  if (!low && !high) return maskOf(length, all)
  const end = (text: string, otherwise: Cell | null | undefined): Cell | null => {
    if (!text) return otherwise ?? null
    if (column?.kind !== 'number') return text
    const found = number(text)
    if (found !== undefined) return found
    throw refusal(400, 'bad_request', `${quoted(column.name)} holds numbers, and ${quoted(text)} is none; write low..high.`)
  }
  const [first, last] = [end(low, column?.low), end(high, column?.high)]
  if (first === null || last === null) return maskOf(length, [])
  const behind = typeof last === 'string' ? last + LAST : last
  return maskOf(length, all.filter((place) => compare(values[place - 1] ?? '', first) >= 0 && compare(values[place - 1] ?? '', behind) <= 0))
}

/** The order of SQLite: numbers before texts, texts by code point. */
function compare(a: Cell, b: Cell): number {
  if (typeof a === 'number') return typeof b === 'number' ? a - b : -1
  return typeof b === 'number' ? 1 : compareByCodePoint(a, b)
}

function number(text: string): number | undefined {
  const found = NUMBER.test(text) ? Number(text.replaceAll('_', '')) : NaN
  return Number.isFinite(found) ? found : undefined
}

function asciiLower(text: string): string {
  return text.replace(/[A-Z]/g, (letter) => letter.toLowerCase())
}
