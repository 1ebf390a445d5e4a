/** Conditions on the table's other columns, as the API takes them: `ticker:AAPL`, `date:2024-01..2024-03`, `ticker:`. */

import type { Cell } from '../interpAPI'
import { visible } from './text'

/** A condition in its parts; undefined where it names no column. Of columns that begin alike the longest is meant. */
export function readCondition(condition: string, columns: readonly string[]): { column: string; value: string } | undefined {
  const found = columns.filter((name) => condition.startsWith(`${name}:`)).sort((one, other) => other.length - one.length)
  const column = found[0]
  return column === undefined ? undefined : { column, value: condition.slice(column.length + 1) }
}

/** The conditions with those on one column replaced. */
export function withConditions(where: readonly string[], columns: readonly string[], column: string, values: readonly string[]): string[] {
  const others = where.filter((condition) => readCondition(condition, columns)?.column !== column)
  return [...others, ...values.map((value) => `${column}:${value}`)]
}

/** The values of the conditions on one column. */
export function valuesOn(where: readonly string[], columns: readonly string[], column: string): string[] {
  return where.flatMap((condition) => {
    const read = readCondition(condition, columns)
    return read?.column === column ? [read.value] : []
  })
}

/** The ends of the first range among the values of conditions; empty texts where there is none. */
export function rangeOf(values: readonly string[]): [low: string, high: string] {
  const range = values.find((value) => value.includes('..'))
  const at = range?.indexOf('..') ?? -1
  return range === undefined ? ['', ''] : [range.slice(0, at), range.slice(at + 2)]
}

/** A condition in words: "ticker: AAPL", "date: 2024-01 to 2024-03", "ticker: no value". */
export function describeCondition(condition: string, columns: readonly string[]): string {
  const read = readCondition(condition, columns)
  if (!read) return condition
  const { column, value } = read
  if (value === '') return `${column}: no value`
  const [low, high] = rangeOf([value])
  if (low && high) return `${column}: ${low} to ${high}`
  if (low) return `${column}: from ${low}`
  return high ? `${column}: up to ${high}` : `${column}: ${value}`
}

/** A cell as text without invisible characters; a dash where it is empty. */
export function cellText(cell: Cell | undefined): string {
  return cell === null || cell === undefined ? '–' : visible(String(cell))
}

/** The cells of a row of an export. A name that the row has already is marked as the table's. */
export function exportedCells(cells: Readonly<Record<string, Cell>>, row: Readonly<Record<string, unknown>>): Record<string, Cell> {
  return Object.fromEntries(Object.entries(cells).map(([name, cell]) => [Object.hasOwn(row, name) ? `${name} (table)` : name, cell]))
}
