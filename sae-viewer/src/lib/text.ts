/**
 * A headline as stretches of its own text: words (or WordPieces) with the token positions they cover, and the text
 * between them. The API's offsets count code points, JavaScript's strings UTF-16 units.
 */

import type { Prompt } from '../interpAPI'

export interface Stretch {
  text: string
  /** `gap` lies between words; `unread` is text that no token covers, so the classifier never saw it. */
  kind: 'word' | 'special' | 'gap' | 'unread'
  /** 0-based token positions in the model's input; empty for gap and unread. */
  positions: number[]
}

export type Grain = 'words' | 'pieces'

type Source = Pick<Prompt, 'text' | 'tokens' | 'starts' | 'ends' | 'words'>

/** A function from code points to UTF-16 units of `text`. Offsets outside the text give its start or end. */
export function utf16Offsets(text: string): (codePoint: number) => number {
  if (!/[\ud800-\udbff]/.test(text)) return (at) => Math.min(Math.max(at, 0), text.length)
  const units: number[] = []
  let unit = 0
  for (const character of text) {
    units.push(unit)
    unit += character.length
  }
  return (at) => units[Math.max(at, 0)] ?? text.length
}

/** The headline in reading order. `words` merges the pieces of a word and leaves special tokens out. */
export function stretches(source: Source, grain: Grain = 'words'): Stretch[] {
  const unit = utf16Offsets(source.text)
  const found: Stretch[] = []
  let cursor = 0
  for (const group of groups(source, grain)) {
    const first = group[0] ?? 0
    if ((source.words[first] ?? -1) < 0) {
      if (grain === 'pieces') found.push({ text: source.tokens[first] ?? '', kind: 'special', positions: group })
      continue
    }
    const start = Math.max(cursor, unit(source.starts[first] ?? 0))
    const end = Math.max(start, unit(Math.max(...group.map((position) => source.ends[position] ?? 0))))
    if (start > cursor) found.push(between(source.text.slice(cursor, start)))
    if (end > start) found.push({ text: source.text.slice(start, end), kind: 'word', positions: group })
    else found.at(-1)?.positions.push(...group) // a second token on one character
    cursor = end
  }
  if (cursor < source.text.length) {
    const rest = between(source.text.slice(cursor))
    const last = found.findLastIndex((stretch) => stretch.kind !== 'special') + 1
    found.splice(last, 0, rest) // before [SEP]
  }
  return found
}

/** Groups of token positions that are shown as one: single tokens, or the pieces of a word. */
function groups({ tokens, words }: Source, grain: Grain): number[][] {
  const found: number[][] = []
  for (let position = 0; position < tokens.length; position++) {
    const word = words[position] ?? -1
    const last = found.at(-1)
    const sameWord = grain === 'words' && word >= 0 && position > 0 && words[position - 1] === word
    if (sameWord && last) last.push(position)
    else found.push([position])
  }
  return found
}

function between(text: string): Stretch {
  return { text, kind: text.trim() ? 'unread' : 'gap', positions: [] }
}

/** The highest activation on the tokens of a stretch; 0 where the feature does not fire. */
export function activationOn(stretch: Stretch, firing: { positions: number[]; values: number[] }): number {
  let strongest = 0
  firing.positions.forEach((position, i) => {
    if (stretch.positions.includes(position)) strongest = Math.max(strongest, firing.values[i] ?? 0)
  })
  return strongest
}

/** The stretches within `context` words of the word at `position`; all where `context` is undefined. */
export function around(parts: Stretch[], position: number | undefined, context: number | undefined) {
  const isWord = (part: Stretch) => part.kind === 'word' || part.kind === 'special'
  const words = parts.flatMap((part, i) => (isWord(part) ? [i] : []))
  const middle = words.findIndex((i) => position !== undefined && parts[i]?.positions.includes(position))
  if (context === undefined || middle < 0) return { parts, cutBefore: false, cutAfter: false }
  const from = words[middle - context] ?? 0
  const to = words[middle + context] ?? parts.length - 1
  return { parts: parts.slice(from, to + 1), cutBefore: from > 0, cutAfter: to < parts.length - 1 }
}

/**
 * Replaces invisible characters (control characters, zero-width spaces, marks that reorder text) by a visible sign,
 * each UTF-16 unit by one.
 */
export function visible(text: string): string {
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b\u202a-\u202e\u2060\u2066-\u2069\ufeff]/g, '\ufffd')
}

/** The longest word without a place to break, in UTF-16 units. */
const LONG = 64

/** The text in pieces of at most 64 visible characters, between which a line may break. Browsers need seconds for one long word. */
export function breakable(text: string): string[] {
  if (text.length <= LONG) return [text]
  const characters = Array.from(new Intl.Segmenter().segment(text), ({ segment }) => segment)
  const pieces: string[] = []
  for (let i = 0; i < characters.length; i += LONG) pieces.push(characters.slice(i, i + LONG).join(''))
  return pieces
}
