/** Where the bytes of an archive come from: the page itself, or files beside it. */

import { ApiError } from '../interpAPI'

/** A range of bytes, counted over all packs: half-open. */
export type Span = readonly [start: number, end: number]

/** The bytes of spans, each of which lies in one pack. */
export type ReadSpans = (spans: Span[]) => Promise<Uint8Array<ArrayBuffer>[]>

/** Spans of a pack that are this near each other are fetched together, in bytes. */
const NEAR = 16_384

/** The decompressed JSON of a block. */
export async function unpacked(block: Uint8Array<ArrayBuffer>): Promise<unknown> {
  try {
    const text = new Blob([block]).stream().pipeThrough(new DecompressionStream('deflate'))
    return (await new Response(text).json()) as unknown
  } catch {
    throw new ApiError('broken', 'The data of this page is damaged; export the run again.')
  }
}

/** The blocks that stand in the page as base64: the manifest, then the packs. */
export function blocksOfPage(): Uint8Array<ArrayBuffer>[] {
  return [...document.querySelectorAll('script[data-archive]')].map((element) => {
    const text = atob(element.textContent)
    const bytes = new Uint8Array(text.length)
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i)
    return bytes
  })
}

/** Reads packs that are in memory. */
export function fromMemory(packs: Uint8Array<ArrayBuffer>[]): ReadSpans {
  const starts = startsOf(packs.map((pack) => pack.length))
  return (spans) =>
    Promise.resolve(
      spans.map(([start, end]) => {
        const pack = packOf(starts, start)
        const first = starts[pack] ?? 0
        return (packs[pack] ?? new Uint8Array()).subarray(start - first, end - first)
      }),
    )
}

/**
 * Reads packs of `sizes` bytes that lie beside each other at `folder`, by requests for ranges of bytes. A pack of which
 * the host sends the whole file instead is asked for once.
 */
export function fromHost(folder: string, sizes: number[]): ReadSpans {
  const starts = startsOf(sizes)
  const whole = new Map<number, Uint8Array<ArrayBuffer>>()
  // Of each pack, for the browser's cache sends ranges of a pack that it has whole, even if the host does not.
  const firsts = new Map<number, Promise<unknown>>()

  async function read(pack: number, span: Span): Promise<Uint8Array<ArrayBuffer>> {
    const first = firsts.get(pack)
    if (first) await first.catch(() => undefined)
    const kept = whole.get(pack)
    if (kept) return kept.subarray(...span)
    const asked = ask(pack, span)
    if (!first) firsts.set(pack, asked)
    return asked
  }

  async function ask(pack: number, [from, to]: Span): Promise<Uint8Array<ArrayBuffer>> {
    const { status, bytes } = await fetchBytes(`${folder}/${pack}.bin`, { Range: `bytes=${from}-${to - 1}` })
    if (status === 206 && bytes.length === to - from) return bytes
    if (bytes.length !== sizes[pack]) throw new ApiError('broken', 'The host sent another file than this page was made with; load the page again.')
    whole.set(pack, bytes)
    return bytes.subarray(from, to)
  }

  return async (spans) => {
    const groups = grouped(spans, starts)
    const all = await Promise.all(groups.map(({ pack, span }) => read(pack, span)))
    return spans.map(([start, end]) => {
      const at = groups.findIndex(({ pack, span }) => start >= (starts[pack] ?? 0) + span[0] && end <= (starts[pack] ?? 0) + span[1])
      const begin = (starts[groups[at]?.pack ?? 0] ?? 0) + (groups[at]?.span[0] ?? 0)
      return (all[at] ?? new Uint8Array()).subarray(start - begin, end - begin)
    })
  }
}

interface Group {
  pack: number
  /** Counted in the pack. */
  span: Span
}

/** Spans as few ranges of packs: those of a pack that are near each other are joined. */
function grouped(spans: Span[], starts: number[]): Group[] {
  const groups: Group[] = []
  for (const [start, end] of [...spans].sort(([a], [b]) => a - b)) {
    const pack = packOf(starts, start)
    const first = starts[pack] ?? 0
    const last = groups.at(-1)
    if (last?.pack === pack && start - first <= last.span[1] + NEAR) last.span = [last.span[0], Math.max(last.span[1], end - first)]
    else groups.push({ pack, span: [start - first, end - first] })
  }
  return groups
}

async function fetchBytes(address: string, headers: Record<string, string>) {
  let response: Response
  try {
    response = await fetch(address, { headers })
    if (response.ok) return { status: response.status, bytes: new Uint8Array(await response.arrayBuffer()) }
  } catch {
    throw new ApiError('down', 'The host of this page does not answer.')
  }
  throw new ApiError('refused', `The host of this page has no ${address}; upload the whole folder again.`, response.status)
}

function startsOf(sizes: number[]): number[] {
  let end = 0
  return sizes.map((size) => (end += size) - size)
}

function packOf(starts: number[], at: number): number {
  return starts.findLastIndex((start) => start <= at)
}
