/** Labels and sets from a file: CSV (labels alone) or JSON as the panel saves them, checked before anything is sent. */

import type { LabelsAnswer, LabelsChange } from '../interpAPI'
import { NAME_LENGTH, NOTE_LENGTH, type Labels, type LabelText } from './labels'
import { has, MOST_FEATURES, setName, withNew, type Sets } from './sets'

export const MAX_FILE = 8 << 20
const MAX_LABELS = 20_000

/** What a file holds. Every line of it is in one of these. */
export interface LabelFile {
  labels: Map<number, LabelText>
  sets: Sets
  /** Features that the SAE does not have. */
  unknown: number[]
  /** Rows that are no label: without a number, without content, or a second one of the same feature; and what is no set. */
  unreadable: number
}

/** Reads a file for an SAE of `nFeatures` features. Throws an Error with one sentence where it holds no labels at all. */
export function readLabels(text: string, nFeatures: number): LabelFile {
  if (text.length > MAX_FILE) throw new Error(`The file is larger than ${MAX_FILE >> 20} MiB.`)
  const { rows, sets } = /^\s*[[{]/.test(text.replace(/^\ufeff/, '')) ? jsonRows(text) : { rows: csvRows(text), sets: {} }
  if (rows.length > MAX_LABELS) throw new Error(`The file has ${rows.length.toLocaleString('en-US')} rows; at most ${MAX_LABELS.toLocaleString('en-US')} annotations are kept.`)
  const found: LabelFile = { labels: new Map(), sets: {}, unknown: [], unreadable: 0 }
  for (const row of rows) {
    const feature = typeof row.feature === 'number' ? row.feature : /^\d{1,9}$/.test(words(row.feature)) ? Number(row.feature) : -1
    const label: LabelText = {
      name: cut(words(row.name).split(/\s+/).join(' '), NAME_LENGTH),
      starred: row.starred === true || row.starred === 'true',
      note: cut(words(row.note), NOTE_LENGTH),
    }
    if (!Number.isInteger(feature) || feature < 0 || found.labels.has(feature) || !(label.name || label.starred || label.note)) found.unreadable++
    else if (feature >= nFeatures) found.unknown.push(feature)
    else found.labels.set(feature, label)
  }
  for (const [name, one] of Object.entries(sets)) {
    const set = readSet(name, one, nFeatures)
    if (set) found.sets = { ...found.sets, [setName(name)]: set }
    else found.unreadable++
  }
  if (found.labels.size + found.unknown.length + Object.keys(found.sets).length === 0) throw new Error('The file has no annotations: it needs a column or field “feature” and one “name”, “starred” or “note”.')
  return found
}

/** A set, where all of its features are those of an SAE of `nFeatures`. */
function readSet(name: string, one: unknown, nFeatures: number): Sets[string] | undefined {
  const features = isRow(one) && Array.isArray(one.features) ? (one.features as unknown[]) : []
  const known = features.filter((n): n is number => Number.isInteger(n) && (n as number) >= 0 && (n as number) < nFeatures)
  if (!isRow(one) || !setName(name) || known.length === 0 || known.length < features.length || known.length > MOST_FEATURES) return undefined
  return { features: known, note: cut(words(one.note), NOTE_LENGTH), updated_at: null }
}

/** What an import does: labels and sets that are added, and features whose name is kept. */
export interface Added {
  added: number
  kept: number
  sets: number
}

/** The labels and sets after an import. A name, a note or a set that is there already stays. */
export function withImported(present: Pick<LabelsAnswer, 'labels' | 'sets'>, file: LabelFile): Added & { change: LabelsChange } {
  const fresh = Object.entries(file.sets).filter(([name]) => !has(present.sets, name))
  const sets = fresh.reduce((all, [name, { features, note }]) => withNew(all, name, features, note), present.sets)
  const { labels, added, kept } = withLabels(present.labels, file)
  return { change: { labels, sets: fresh.length > 0 ? sets : null }, added, kept, sets: fresh.length }
}

function withLabels(present: Labels, { labels }: LabelFile): { labels: Labels; added: number; kept: number } {
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

/** At most `most` code points, as the server counts them, without halves of surrogate pairs, which it refuses. */
function cut(text: string, most: number): string {
  return Array.from(text.replace(/[\ud800-\udfff]/gu, '').trim()).slice(0, most).join('')
}

/** The rows and sets of a JSON file. */
function jsonRows(text: string): { rows: Row[]; sets: Row } {
  let content: unknown
  try {
    content = JSON.parse(text.replace(/^\ufeff/, ''))
  } catch {
    throw new Error('The file is no JSON.')
  }
  const list = isRow(content) ? content.labels : content
  const sets = isRow(content) && isRow(content.sets) ? content.sets : {}
  if (Array.isArray(list)) return { rows: list.map((one: unknown) => (isRow(one) ? one : {})), sets }
  if (isRow(list)) return { rows: Object.entries(list).map(([feature, one]) => ({ ...(isRow(one) ? one : {}), feature })), sets }
  throw new Error('The file is JSON without “labels”.')
}

function isRow(value: unknown): value is Row {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Rows of a CSV file by RFC 4180, by the names in its first line. An apostrophe before a formula is taken away again. */
function csvRows(text: string): Row[] {
  const [header = [], ...rest] = csvLines(text.replace(/^\ufeff/, '')).filter((line) => line.some(Boolean))
  return rest.map((line) => Object.fromEntries(header.map((name, i) => [name.trim().toLowerCase(), line[i] ?? ''])))
}

/** The cells of each line. A step takes as long as its cell, also in a file that is no CSV. */
function csvLines(text: string): string[][] {
  const lines: string[][] = [[]]
  const ends = /,|\r?\n|$/g
  for (let at = 0; at <= text.length; ) {
    const closing = text[at] === '"' ? closingQuote(text, at) : at
    ends.lastIndex = closing
    const end = ends.exec(text)
    const [next, mark] = [end?.index ?? text.length, end?.[0] ?? '']
    const cell = closing > at ? text.slice(at + 1, closing).replaceAll('""', '"') : text.slice(at, next)
    lines.at(-1)?.push(cell.replace(/^'(?=[=+\-@\t\r])/, ''))
    if (mark !== ',') lines.push([])
    at = next + (mark.length || 1)
  }
  return lines
}

function closingQuote(text: string, opening: number): number {
  let at = text.indexOf('"', opening + 1)
  while (at >= 0 && text[at + 1] === '"') at = text.indexOf('"', at + 2)
  if (at < 0) throw new Error('The file is no CSV: a quotation mark is not closed.')
  return at
}
