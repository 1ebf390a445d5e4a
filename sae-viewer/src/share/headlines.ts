/** Searching, sorting and comparing headlines, as `viz_analysis/runs/headline_answers.py` does it. */

import type { Headline, HeadlinesPage, HeadlinesQuery } from '../interpAPI'
import { columnOrder, inSlice } from './columns'
import type { Phrase } from './letters'
import { keep, maskOf, refusal, type SharedRun } from './shared'

const BY_COLUMN = 'column:'
const PAGING = new Set(['run', 'limit', 'offset', 'sort', 'order'])

/** The headlines with a feature among their strongest, ascending, as differences. */
export type Posting = number[]

export function headlinesOf(posting: Posting): number[] {
  let n = 0
  return posting.map((difference) => (n += difference))
}

export async function headlinesPage(run: SharedRun, query: HeadlinesQuery): Promise<HeadlinesPage> {
  const { run_id, labels, n_headlines, n_correct } = run.facts
  const { limit = 50, offset = 0, sort = 'position', order = 'asc' } = query
  const filtered = Object.entries(query).some(([name, value]) => !PAGING.has(name) && isGiven(value))
  const mask = filtered ? await matching(run, query) : undefined
  if (mask) keep(mask, await inCells(run, query))
  const found = sort === 'position' ? undefined : await ordered(run, sort, order)
  const total = mask ? mask.reduce((sum, one) => sum + one, 0) : n_headlines
  const page: number[] = []
  let seen = 0
  for (let i = mask ? 0 : offset; i < n_headlines && page.length < limit; i++) {
    const n = found ? (found[i] ?? 0) : order === 'desc' ? n_headlines - 1 - i : i
    if (mask && !mask[n]) continue
    if (!mask || seen >= offset) page.push(n)
    seen++
  }
  return { run_id, labels, total, n_headlines, n_correct, offset, limit, headlines: await run.archive.records<Headline>('headlines', page) }
}

export async function confusion(run: SharedRun, query: HeadlinesQuery) {
  const { run_id, labels } = run.facts
  const counts = labels.map(() => labels.map(() => 0))
  const [mask, cells] = await Promise.all([matching(run, query), run.vector('cell')])
  cells.forEach((cell, n) => {
    const row = counts[Math.floor(cell / labels.length)]
    if (row && mask[n]) row[cell % labels.length] = (row[cell % labels.length] ?? 0) + 1
  })
  return { run_id, labels, counts }
}

/** The headlines with the highest cosine to one, as vectors of their strongest features' activations. */
export async function similarHeadlines(run: SharedRun, { headline, limit = 10 }: { headline: number; limit?: number }) {
  const { run_id, n_headlines } = run.facts
  if (headline >= n_headlines) {
    throw refusal(404, 'unknown_headline', `There is no headline ${headline}: ${run_id} has 0 to ${n_headlines - 1}.`)
  }
  const [own] = await run.archive.records<Headline>('headlines', [headline])
  const features = own?.features.map(({ feature }) => feature) ?? []
  const [postings, weightsOf] = await Promise.all([run.archive.records<Posting>('postings', features), run.archive.records<number[]>('weights', features)])
  const cosines = new Float32Array(n_headlines)
  for (const [i, posting] of postings.entries()) {
    const [headlines, weights] = [headlinesOf(posting), weightsOf[i] ?? []]
    const weight = Math.fround(weights[headlines.indexOf(headline)] ?? 0)
    headlines.forEach((n, i) => {
      cosines[n] = (cosines[n] ?? 0) + Math.fround(weight * Math.fround(weights[i] ?? 0))
    })
  }
  cosines[headline] = 0
  const found = [...cosines.keys()].filter((n) => (cosines[n] ?? 0) > 0)
  found.sort((a, b) => (cosines[b] ?? 0) - (cosines[a] ?? 0) || a - b)
  const most = found.slice(0, limit)
  const records = await run.archive.records<Headline>('headlines', most)
  return {
    run_id,
    headline,
    similar: records.map((record, i) => ({ similarity: round6(Math.min(cosines[most[i] ?? 0] ?? 0, 1)), headline: record })),
  }
}

/** The headlines that match columns, confidence, feature and text. */
async function matching(run: SharedRun, query: HeadlinesQuery): Promise<Uint8Array> {
  const { n_headlines, d_sae } = run.facts
  const mask = await inSlice(run, query.where ?? [])
  if (query.min_confidence != null || query.max_confidence != null) {
    const [low, high] = [Math.fround(query.min_confidence ?? 0), Math.fround(query.max_confidence ?? 1)]
    const confidence = await run.vector('confidence')
    keep(mask, Uint8Array.from(confidence, (one) => Number(Math.fround(one) >= low && Math.fround(one) <= high)))
  }
  if (query.feature != null) {
    const [posting] = query.feature < d_sae ? await run.archive.records<Posting>('postings', [query.feature]) : []
    keep(mask, maskOf(n_headlines, headlinesOf(posting ?? [])))
  }
  if (query.q) keep(mask, maskOf(n_headlines, await withText(run, query.q)))
  return mask
}

/** The headlines that match label, prediction and correctness. */
async function inCells(run: SharedRun, { label, prediction, correct }: HeadlinesQuery): Promise<Uint8Array> {
  const n = run.facts.labels.length
  const fits = (cell: number) => {
    const [own, predicted] = [Math.floor(cell / n), cell % n]
    return (label ?? own) === own && (prediction ?? predicted) === predicted && (correct ?? own === predicted) === (own === predicted)
  }
  if (label == null && prediction == null && correct == null) return new Uint8Array(run.facts.n_headlines).fill(1)
  return Uint8Array.from(await run.vector('cell'), (cell) => Number(fits(cell)))
}

async function ordered(run: SharedRun, sort: string, order: string): Promise<number[]> {
  if (sort.startsWith(BY_COLUMN)) return columnOrder(run, sort.slice(BY_COLUMN.length), order === 'desc')
  return run.vector(`${sort} ${order}`)
}

/** The headlines that hold all phrases of a search. */
async function withText(run: SharedRun, search: string): Promise<Set<number>> {
  const phrases = (await run.letters()).phrases(search)
  const found = await Promise.all(phrases.map((phrase) => withPhrase(run, phrase)))
  return found.reduce<Set<number> | undefined>((all, one) => (all ? new Set([...all].filter((n) => one.has(n))) : one), undefined) ?? new Set()
}

async function withPhrase(run: SharedRun, { words, begun }: Phrase): Promise<Set<number>> {
  let before: Map<number, Set<number>> | undefined
  for (const [i, word] of words.entries()) {
    const here = await positions(run, word, begun && i === words.length - 1)
    if (before) {
      const former = before
      for (const [headline, at] of here) {
        const follows = new Set([...at].filter((position) => former.get(headline)?.has(position - 1)))
        if (follows.size > 0) here.set(headline, follows)
        else here.delete(headline)
      }
    }
    before = here
  }
  return new Set(before?.keys())
}

/** Where a word stands, by headline. */
async function positions(run: SharedRun, word: string, orLonger: boolean): Promise<Map<number, Set<number>>> {
  const found = new Map<number, Set<number>>()
  for (const [, numbers] of await run.archive.withWord('terms', word, orLonger)) {
    let headline = 0
    for (let i = 0; i < numbers.length; i += 2) {
      headline += numbers[i] ?? 0
      const at = found.get(headline)
      if (at) at.add(numbers[i + 1] ?? 0)
      else found.set(headline, new Set([numbers[i + 1] ?? 0]))
    }
  }
  return found
}

/** Whether a filter is set. */
export function isGiven(value: unknown): boolean {
  return value !== undefined && value !== null && value !== '' && !(Array.isArray(value) && value.length === 0)
}

/** Six decimals, as Python rounds: a number in the middle between two goes to the even one. */
function round6(value: number): number {
  const scaled = value * 1e6
  const below = Math.floor(scaled)
  const isMiddle = scaled - below === 0.5 && (value * 128) % 1 === 0
  return isMiddle && below % 2 === 0 ? below / 1e6 : Number(value.toFixed(6))
}
