/** A shared run: its facts, and its vectors and masks over headlines and features. */

import { ApiError, type Column, type FoundName, type MetricInfo } from '../interpAPI'
import type { Archive } from './archive'
import { Letters, type LetterTables } from './letters'

export interface Facts {
  run_id: string
  folder: string
  labels: string[]
  n_headlines: number
  n_correct: number
  d_sae: number
  min_headlines: number
  metrics: MetricInfo[]
  columns: Column[]
  class_sizes: number[]
  /** The names of each class's metrics, which a run may lack. */
  class_metrics: [auroc: string, effect: string][]
  histogram_edges: number[]
  has_effects: boolean
}

/** A feature in a list; metrics in the order of the facts. */
export type Row = [word: string | null, histogram: number[] | null, headlines: number, density: number, leaning: number | null, values: number[]]

/** A question's answer with a status, as the server gave it. */
export interface Kept {
  status: number
  body: unknown
}

export class SharedRun {
  private constructor(
    readonly archive: Archive,
    readonly facts: Facts,
    readonly answers: Record<string, Kept>,
  ) {}

  static async open(archive: Archive): Promise<SharedRun> {
    const [facts, answers] = await Promise.all([archive.part<Facts>('facts'), archive.part<Record<string, Kept>>('answers')])
    return new SharedRun(archive, facts, answers)
  }

  /** A vector over all headlines or features. A page has those over features in its rows alone. */
  async vector<T = number>(name: string): Promise<T[]> {
    if (this.archive.hasPart(name)) return this.archive.part<T[]>(name)
    const metric = this.facts.metrics.findIndex((one) => `metric ${one.name}` === name)
    const rows = await this.archive.all<Row>('rows')
    return rows.map(([, , headlines, density, leaning, values]) => {
      return name === 'headline_counts' ? headlines : name === 'density' ? density : name === 'leaning' ? (leaning ?? -1) : values[metric]
    }) as T[]
  }

  /** The found name of each feature. */
  async foundNames(): Promise<(FoundName | null)[]> {
    const names = await this.archive.part<([text: string, score: number, low: number, high: number] | null)[]>('names')
    return names.map((name) => name && { text: name[0], score: name[1], low: name[2], high: name[3] })
  }

  async letters(): Promise<Letters> {
    return new Letters(await this.archive.part<LetterTables>('letters'))
  }
}

/** A refusal of the kind that the server sends. */
export function refusal(status: number, code: string, message: string): ApiError {
  return new ApiError('refused', message, status, code)
}

/** A mask of `length` with 1 at each of `numbers`. */
export function maskOf(length: number, numbers: Iterable<number>): Uint8Array {
  const mask = new Uint8Array(length)
  for (const n of numbers) mask[n] = 1
  return mask
}

/** Sets a mask to 0 where another one is. */
export function keep(mask: Uint8Array, others: Uint8Array): void {
  for (let n = 0; n < mask.length; n++) mask[n] = (mask[n] ?? 0) & (others[n] ?? 0)
}

/** Up to 100 characters of a name in quotation marks, as the server's messages show it. */
export function quoted(name: string): string {
  const text = Array.from(name).slice(0, 100).join('').replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('\t', '\\t')
  return text.includes("'") && !text.includes('"') ? `"${text}"` : `'${text.replaceAll("'", "\\'")}'`
}
