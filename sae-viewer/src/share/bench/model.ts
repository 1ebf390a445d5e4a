/** The classifier and the SAE of a shared run, run in WebAssembly. See `viz_analysis/share/bench.py` for its files. */

import type * as Runtime from 'onnxruntime-web'
import { ApiError } from '../../interpAPI'
import { Tokenizer, type TokenizerFacts } from './tokens'

export interface BenchFacts {
  tokenizer: TokenizerFacts
  max_length: number
  max_edits: number
  strip_links: boolean
  positions: 'words' | 'all'
  /** Where the k largest of each token are active; null where all above a threshold are. */
  k: number | null
  /** Whether weights are float32, not half precision. */
  exact: boolean
  d_sae: number
  mean: number[]
  scale: number
  b_dec: number[]
}

/** What the read graph makes of a text: hidden [n_tokens, d_in], f [n_tokens, d_sae]. */
export interface Layer {
  hidden: Float32Array
  f: Float32Array
}

/** The most tokens of copies that one call of a graph gets, so that its memory stays small. */
const TOKENS_AT_ONCE = 1024

export class BenchModel {
  readonly tokenizer: Tokenizer
  private turn: Promise<unknown> = Promise.resolve()

  private constructor(
    readonly facts: BenchFacts,
    private readonly runtime: typeof Runtime,
    private readonly graphs: Record<'read' | 'tail' | 'slopes', Runtime.InferenceSession>,
    private readonly decoder: Float32Array | Uint16Array,
    readonly nClasses: number,
  ) {
    this.tokenizer = new Tokenizer(facts.tokenizer)
  }

  /** Loads the model from the folder at an address, which ends with a slash. Throws `ApiError`. */
  static async load(folder: URL, nClasses: number): Promise<BenchModel> {
    try {
      return await BenchModel.started(folder, nClasses)
    } catch (error) {
      if (error instanceof ApiError) throw error
      const reason = (error instanceof Error ? error.message : String(error)).slice(0, 200)
      throw new ApiError('broken', `The model of this page cannot be started: copy the whole folder again, or use a browser of 2024 or later (${reason}).`)
    }
  }

  private static async started(folder: URL, nClasses: number): Promise<BenchModel> {
    const at = (name: string) => new URL(name, folder).href
    const runtime = await import(/* @vite-ignore */ at('ort.js')).then(
      (module) => module as typeof Runtime,
      () => Promise.reject(new ApiError('down', 'The host of this page does not send its model.')),
    )
    runtime.env.wasm.numThreads = 1
    runtime.env.wasm.wasmPaths = { wasm: at('ort.wasm') }
    const [facts, decoder, ...files] = await Promise.all([bytesOf(at('bench.json')), ...['decoder.bin', 'read.onnx', 'tail.onnx', 'slopes.onnx'].map((name) => bytesOf(at(name)))])
    const known = JSON.parse(new TextDecoder().decode(facts)) as BenchFacts
    const sessions: Runtime.InferenceSession[] = []
    for (const file of files) sessions.push(await runtime.InferenceSession.create(new Uint8Array(file)))
    const [read, tail, slopes] = sessions
    const rows = known.exact ? new Float32Array(decoder ?? []) : new Uint16Array(decoder ?? [])
    if (!read || !tail || !slopes || rows.length !== known.d_sae * known.mean.length) throw new Error('decoder.bin is cut off')
    return new BenchModel(known, runtime, { read, tail, slopes }, rows, nClasses)
  }

  get width(): number {
    return this.facts.mean.length
  }

  get dSae(): number {
    return this.facts.d_sae
  }

  async read(ids: number[]): Promise<Layer> {
    const { Tensor } = this.runtime
    const { hidden, f } = await this.run('read', { input_ids: new Tensor('int32', Int32Array.from(ids), [1, ids.length]) })
    return { hidden: numbers(hidden), f: numbers(f) }
  }

  /** The logits of copies of a text, each given as its hidden states [n_tokens, d_in]. */
  async logits(copies: Float32Array[]): Promise<number[][]> {
    const found: number[][] = []
    for (const some of chunks(copies, this.atOnce(copies))) {
      const { logits } = await this.run('tail', { hidden: this.stacked(some) })
      found.push(...rowsOf(numbers(logits), this.nClasses).map((row) => [...row]))
    }
    return found
  }

  /** The logits of copies of a text, and the slopes of Σ seed·logit with regard to its hidden states. */
  async slopes(copies: Float32Array[], seeds: number[][]): Promise<{ logits: number[]; slopes: Float32Array }[]> {
    const { Tensor } = this.runtime
    const found = []
    const size = this.atOnce(copies)
    for (const [n, some] of chunks(copies, size).entries()) {
      const own = seeds.slice(n * size, n * size + some.length)
      const { logits, slopes } = await this.run('slopes', {
        hidden: this.stacked(some),
        seeds: new Tensor('float32', Float32Array.from(own.flat()), [own.length, this.nClasses]),
      })
      const values = rowsOf(numbers(logits), this.nClasses)
      const all = rowsOf(numbers(slopes), some[0]?.length ?? 0)
      for (const [i, row] of values.entries()) found.push({ logits: [...row], slopes: all[i] ?? new Float32Array() })
    }
    return found
  }

  /** Adds weight · W_dec[feature] to `target` from `offset` on. */
  addRow(target: Float32Array, offset: number, feature: number, weight: number): void {
    const { decoder, width } = this
    const start = feature * width
    const wide = decoder instanceof Float32Array
    for (let i = 0; i < width; i++) {
      const value = decoder[start + i] ?? 0
      target[offset + i] = (target[offset + i] ?? 0) + weight * (wide ? value : (HALVES[value] ?? 0))
    }
  }

  /** W_dec[feature] · `slopes` from `offset` on. */
  along(slopes: Float32Array, offset: number, feature: number): number {
    const { decoder, width } = this
    const start = feature * width
    const wide = decoder instanceof Float32Array
    let sum = 0
    for (let i = 0; i < width; i++) {
      const value = decoder[start + i] ?? 0
      sum += (slopes[offset + i] ?? 0) * (wide ? value : (HALVES[value] ?? 0))
    }
    return sum
  }

  private atOnce(copies: Float32Array[]): number {
    const tokens = (copies[0]?.length ?? 0) / this.width
    return Math.max(1, Math.floor(TOKENS_AT_ONCE / Math.max(1, tokens)))
  }

  private stacked(copies: Float32Array[]): Runtime.Tensor {
    const size = copies[0]?.length ?? 0
    const all = new Float32Array(copies.length * size)
    copies.forEach((copy, i) => all.set(copy, i * size))
    return new this.runtime.Tensor('float32', all, [copies.length, size / this.width, this.width])
  }

  /** Runs a graph when those that were asked before are done. */
  private run(graph: 'read' | 'tail' | 'slopes', inputs: Record<string, Runtime.Tensor>): Promise<Runtime.InferenceSession.OnnxValueMapType> {
    const next = this.turn.then(() => this.graphs[graph].run(inputs))
    this.turn = next.catch(() => undefined)
    return next
  }
}

async function bytesOf(address: string): Promise<ArrayBuffer> {
  const response = await fetch(address).catch(() => undefined)
  if (!response) throw new ApiError('down', 'The host of this page does not send its model.')
  if (!response.ok) throw new ApiError('refused', `The host of this page has no ${address}; upload the whole folder again.`, response.status)
  return response.arrayBuffer()
}

function numbers(value: Runtime.OnnxValue | undefined): Float32Array {
  return (value as Runtime.Tensor).data as Float32Array
}

function rowsOf(values: Float32Array, width: number): Float32Array[] {
  return Array.from({ length: width ? values.length / width : 0 }, (_, n) => values.slice(n * width, (n + 1) * width))
}

function chunks<T>(all: T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(all.length / size) }, (_, n) => all.slice(n * size, (n + 1) * size))
}

/** The number that each 16 bits of half precision stand for. */
const HALVES = Float32Array.from({ length: 65_536 }, (_, bits) => {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 0x1f
  const fraction = bits & 0x3ff
  if (exponent === 0) return sign * fraction * 2 ** -24
  return exponent === 31 ? (fraction ? NaN : sign * Infinity) : sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
})
