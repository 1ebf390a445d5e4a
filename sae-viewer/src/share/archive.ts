/** An archive of JSON values as `viz_analysis/share/archive.py` writes it, of which only what is asked for is read. */

import { unpacked, type ReadSpans, type Span } from './bytes'
import { compareByCodePoint } from './letters'

export interface Manifest {
  packs: number[]
  /** The folder of the packs beside the manifest; none where they stand in the page. */
  folder?: string
  parts: Record<string, Span>
  tables: Record<string, { per: number; start: number; index: Span }>
  words: Record<string, { start: number; index: Span }>
}

interface Index {
  /** The [start, end] of each block. */
  spans: Span[]
  firsts: string[]
}

/** Blocks that stay in memory where they can be fetched again. */
const KEPT = 600

export class Archive {
  private readonly blocks = new Map<number, Promise<unknown>>()

  constructor(
    private readonly manifest: Manifest,
    private readonly read: ReadSpans,
  ) {}

  /** A single value. */
  async part<T>(name: string): Promise<T> {
    const span = this.manifest.parts[name]
    if (!span) throw new Error(`the archive has no ${name}`)
    const [value] = await this.at([span])
    return value as T
  }

  hasPart(name: string): boolean {
    return name in this.manifest.parts
  }

  /** The records of a table with these numbers, in their order. */
  async records<T>(table: string, numbers: readonly number[]): Promise<T[]> {
    const { per } = this.table(table)
    const { spans } = await this.index(table)
    const wanted = [...new Set(numbers.map((n) => Math.floor(n / per)))]
    const blocks = await this.at(wanted.map((n) => {
      const span = spans[n]
      if (!span) throw new Error(`${table} has no block ${n}`)
      return span
    }))
    const found = new Map(wanted.map((n, i) => [n, blocks[i] as T[]]))
    return numbers.map((n) => found.get(Math.floor(n / per))?.[n % per] as T)
  }

  /** All records of a table. */
  async all<T>(table: string): Promise<T[]> {
    const { spans } = await this.index(table)
    return ((await this.at(spans)) as T[][]).flat()
  }

  /** The records of a table of words that are `word`, or also those that begin with it. */
  async withWord(table: string, word: string, orLonger: boolean): Promise<[word: string, numbers: number[]][]> {
    const { spans, firsts } = await this.index(table)
    const from = Math.max(0, firsts.findLastIndex((first) => compareByCodePoint(first, word) <= 0))
    let to = from + 1
    while (to < firsts.length && orLonger && firsts[to]?.startsWith(word)) to++
    const blocks = (await this.at(spans.slice(from, to))) as [string, number[]][][]
    return blocks.flat().filter(([found]) => found === word || (orLonger && found.startsWith(word)))
  }

  private table(name: string) {
    const table = this.manifest.tables[name]
    if (!table) throw new Error(`the archive has no ${name}`)
    return table
  }

  private async index(name: string): Promise<Index> {
    const { start, index } = this.manifest.words[name] ?? this.table(name)
    const [found] = (await this.at([index])) as [{ lengths: number[]; firsts?: string[] }]
    let end = start
    return { spans: found.lengths.map((length) => [end, (end += length)]), firsts: found.firsts ?? [] }
  }

  /** The values of blocks. Those that are missing are read together. */
  private async at(spans: readonly Span[]): Promise<unknown[]> {
    const missing = spans.filter(([start]) => !this.blocks.has(start))
    if (missing.length > 0) {
      const reading = this.read(missing)
      missing.forEach(([start], i) => {
        const block = reading.then((all) => unpacked(all[i] ?? new Uint8Array()))
        this.blocks.set(start, block)
        block.catch(() => this.blocks.delete(start))
      })
    }
    const values = spans.map(([start]) => this.blocks.get(start) ?? Promise.reject(new Error('no such block')))
    for (const [start] of this.blocks) {
      if (this.blocks.size <= Math.max(KEPT, spans.length)) break
      this.blocks.delete(start)
    }
    return Promise.all(values)
  }
}
