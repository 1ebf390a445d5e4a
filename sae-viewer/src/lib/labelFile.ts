/** Labels from a file: CSV or JSON as the panel saves them, checked before anything is sent. */

import { NAME_LENGTH, NOTE_LENGTH, type Labels, type LabelText } from './labels'

export const MAX_FILE = 8 << 20
const MAX_LABELS = 20_000

/** What a file holds. Every line of it is in one of these. */
export interface LabelFile {
  labels: Map<number, LabelText>
  /** Features that the SAE does not have. */
  unknown: number[]
  /** Rows that are no label: without a number, without content, or a second one of the same feature. */
  unreadable: number
}

/** Reads a file for an SAE of `nFeatures` features. Throws an Error with one sentence where it holds no labels at all. */
export function readLabels(text: string, nFeatures: number): LabelFile {
  if (text.length > MAX_FILE) throw new Error(`The file is larger than ${MAX_FILE >> 20} MiB.`)
  const rows = /^\s*[[{]/.test(text.replace(/^\ufeff/, '')) ? jsonRows(text) : csvRows(text)
  if (rows.length > MAX_LABELS) throw new Error(`The file has ${rows.length.toLocaleString('en-US')} rows; at most ${MAX_LABELS.toLocaleString('en-US')} labels are kept.`)
  const found: LabelFile = { labels: new Map(), unknown: [], unreadable: 0 }
  for (const row of rows) {
    const feature = typeof row.feature === 'number' ? row.feature : /^\d{1,9}$/.test(words(row.feature)) ? Number(row.feature) : -1
    const label: LabelText = {
      name: words(row.name).split(/\s+/).join(' ').trim().slice(0, NAME_LENGTH),
      starred: row.starred === true || row.starred === 'true',
      note: words(row.note).trim().slice(0, NOTE_LENGTH),
    }
    if (!Number.isInteger(feature) || feature < 0 || found.labels.has(feature) || !(label.name || label.starred || label.note)) found.unreadable++
    else if (feature >= nFeatures) found.unknown.push(feature)
    else found.labels.set(feature, label)
  }
  if (found.labels.size + found.unknown.length === 0) throw new Error('The file has no labels: it needs a column or field “feature” and one “name”, “starred” or “note”.')
  return found
}

/** The labels after an import. A name or a note that is there already stays. */
export function withImported(present: Labels, { labels }: LabelFile): { labels: Labels; added: number; kept: number } {
  const merged: Labels = { ...present }
  let [added, kept] = [0, 0]
  for (const [feature, { name, starred, note }] of labels) {
    const own = present[feature]
    if (own?.name && name && own.name !== name) kept++
    else if (!own || (!own.name && name) || (starred && !own.starred) || (!own.note && note)) added++
    merged[feature] = { name: own?.name || name, starred: Boolean(own?.starred) || starred, note: own?.note || note, updated_at: own?.updated_at ?? null }
  }
  return { labels: merged, added, kept }
}

type Row = Record<string, unknown>

function words(value: unknown): string {
  return typeof value === 'string' ? value : typeof value === 'number' ? String(value) : ''
}

function jsonRows(text: string): Row[] {
  let content: unknown
  try {
    content = JSON.parse(text.replace(/^\ufeff/, ''))
  } catch {
    throw new Error('The file is no JSON.')
  }
  const list = isRow(content) ? content.labels : content
  if (Array.isArray(list)) return list.map((one: unknown) => (isRow(one) ? one : {}))
  if (isRow(list)) return Object.entries(list).map(([feature, one]) => ({ ...(isRow(one) ? one : {}), feature }))
  throw new Error('The file is JSON without “labels”.')
}

function isRow(value: unknown): value is Row {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Rows of a CSV file by RFC 4180, by the names in its first line. An apostrophe before a formula is taken away again. */
function csvRows(text: string): Row[] {
  const lines: string[][] = [[]]
  for (const [, quoted, plain, end] of text.replace(/^\ufeff/, '').matchAll(/(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n|$)/g)) {
    const cell = quoted === undefined ? (plain ?? '') : quoted.replaceAll('""', '"')
    lines.at(-1)?.push(cell.replace(/^'(?=[=+\-@\t\r])/, ''))
    if (end !== ',') lines.push([])
  }
  const [header = [], ...rest] = lines.filter((line) => line.some(Boolean))
  return rest.map((line) => Object.fromEntries(header.map((name, i) => [name.trim().toLowerCase(), line[i] ?? ''])))
}
