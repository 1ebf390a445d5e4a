/** A text as a BERT classifier reads it: WordPieces with their places in the text, as `headlines/tokens.py` gives them. */

/** What `viz_analysis/share/bench.py` writes of a tokenizer. */
export interface TokenizerFacts {
  vocabulary: string[]
  unknown: string
  prefix: string
  most_letters: number
  clean: boolean
  chinese: boolean
  strip_accents: boolean
  lower: boolean
  first: string
  last: string
}

/** A text and its tokens, special ones included. Starts and ends count code points; words are −1 for special tokens. */
export interface TokenizedText {
  text: string
  ids: number[]
  tokens: string[]
  starts: number[]
  ends: number[]
  words: number[]
}

/** A letter of the normalised text, and the code point of the text that it comes from. */
interface Letter {
  letter: string
  from: number
}

const CHINESE = /[\u4e00-\u9fff\u3400-\u4dbf\u{20000}-\u{2a6df}\u{2a700}-\u{2b73f}\u{2b740}-\u{2b81f}\u{2b920}-\u{2ceaf}\uf900-\ufaff\u{2f800}-\u{2fa1f}]/u
const CONTROL = /[\p{Cc}\p{Cf}\p{Co}]/u
const PUNCTUATION = /[\p{P}!-/:-@[-`{-~]/u

// What Python's patterns mean: \w is a letter, a number or _, \d a decimal digit, \S all that is no white space.
const W = '[\\p{L}\\p{N}_]'
const BOUNDARY = `(?:(?<=${W})(?!${W})|(?<!${W})(?=${W}))`
const SPACE = ' \\t-\\r\\x1c-\\x1f\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000'
const WORD = new RegExp(
  `\\$[A-Za-z][\\p{L}\\p{N}_.]*${BOUNDARY}|[+\\-]?[$€£]?\\p{Nd}+(?:[.,]\\p{Nd}+)*%?|${W}+(?:['’.&\\-]${W}+)*|[^${SPACE}]`,
  'uy',
)
const LINK = new RegExp(
  `(?:https?://|(?<!${W})www\\.)[^${SPACE}<>"“”«»]*[^${SPACE}<>"“”«».,;:!?…)\\]}'’]`,
  'giu',
)

export class Tokenizer {
  private readonly ids: Map<string, number>

  constructor(private readonly facts: TokenizerFacts) {
    this.ids = new Map(facts.vocabulary.map((token, id) => [token, id]))
  }

  /** The tokens of a text; without its links if `stripLinks`. */
  read(text: string, stripLinks: boolean): TokenizedText {
    const letters = Array.from(text)
    const links = linkSpans(text)
    const kept = letters.map((letter, from) => ({ letter, from })).filter(({ from }) => !stripLinks || !links.some(([start, end]) => start <= from && from < end))
    const pieces = pretokens(this.normalised(kept)).flatMap((word) => this.wordPieces(word))
    const { first, last } = this.facts
    const whole = [{ token: first, start: 0, end: 0 }, ...pieces, { token: last, start: 0, end: 0 }]
    const starts = whole.map(({ start }) => start)
    const ends = whole.map(({ end }) => end)
    return {
      text,
      ids: whole.map(({ token }) => this.ids.get(token) ?? 0),
      tokens: whole.map(({ token }) => token),
      starts,
      ends,
      words: wordsOf(text, links, starts, ends),
    }
  }

  private normalised(letters: Letter[]): Letter[] {
    const { clean, chinese, strip_accents, lower } = this.facts
    let found = letters
    if (clean) {
      found = found
        .filter(({ letter }) => letter !== '\0' && letter !== '\ufffd' && (/[\t\n\r]/.test(letter) || !CONTROL.test(letter)))
        .map((one) => (/\p{White_Space}/u.test(one.letter) ? { ...one, letter: ' ' } : one))
    }
    if (chinese) {
      found = found.flatMap((one) => (CHINESE.test(one.letter) ? [{ ...one, letter: ' ' }, one, { ...one, letter: ' ' }] : [one]))
    }
    if (strip_accents) {
      found = found.flatMap(({ letter, from }) => Array.from(letter.normalize('NFD'), (part) => ({ letter: part, from }))).filter(({ letter }) => !/\p{Mn}/u.test(letter))
    }
    if (lower) {
      found = found.flatMap(({ letter, from }) => Array.from(letter.toLowerCase(), (part) => ({ letter: part, from })))
    }
    return found
  }

  /** The longest pieces that the vocabulary has, from the left; one unknown token for a word that it cannot spell. */
  private wordPieces(word: Letter[]): { token: string; start: number; end: number }[] {
    const { unknown, prefix, most_letters } = this.facts
    const spanned = (token: string, from: number, to: number) => ({ token, start: word[from]?.from ?? 0, end: (word[to - 1]?.from ?? 0) + 1 })
    if (word.length > most_letters) return [spanned(unknown, 0, word.length)]
    const found = []
    let at = 0
    while (at < word.length) {
      let end = word.length
      let token: string | undefined
      for (; end > at; end--) {
        const spelled = (at > 0 ? prefix : '') + word.slice(at, end).map(({ letter }) => letter).join('')
        if (this.ids.has(spelled)) {
          token = spelled
          break
        }
      }
      if (token === undefined) return [spanned(unknown, 0, word.length)]
      found.push(spanned(token, at, end))
      at = end
    }
    return found
  }
}

/** Words between white space; every punctuation mark is one by itself. */
function pretokens(letters: Letter[]): Letter[][] {
  const words: Letter[][] = []
  let open: Letter[] | undefined
  for (const one of letters) {
    if (/\p{White_Space}/u.test(one.letter)) {
      open = undefined
    } else if (PUNCTUATION.test(one.letter)) {
      open = undefined
      words.push([one])
    } else if (open) {
      open.push(one)
    } else {
      words.push((open = [one]))
    }
  }
  return words
}

/** A function from UTF-16 units to code points of a text. */
function codePoints(text: string): (unit: number) => number {
  const at: number[] = []
  let point = 0
  for (const letter of text) {
    for (let i = 0; i < letter.length; i++) at.push(point)
    point++
  }
  return (unit) => at[unit] ?? point
}

/** The half-open spans of links, in code points. */
function linkSpans(text: string): [number, number][] {
  const point = codePoints(text)
  return [...text.matchAll(LINK)].map((found) => [point(found.index), point(found.index + found[0].length)])
}

/** The 0-based word of each token; tokens that cover no text get −1, and words without tokens get no number. */
function wordsOf(text: string, links: [number, number][], starts: number[], ends: number[]): number[] {
  const wordEnds = endsOfWords(text, links)
  const numbers = new Map<number, number>()
  return starts.map((start, i) => {
    if (start === ends[i]) return -1
    const at = wordEnds.findIndex((end) => end > start)
    const word = at < 0 ? wordEnds.length : at
    const number = numbers.get(word) ?? numbers.size
    numbers.set(word, number)
    return number
  })
}

/** The end of each word of a text in code points, ascending. A link is one word. */
function endsOfWords(text: string, links: [number, number][]): number[] {
  const point = codePoints(text)
  const letters = Array.from(text)
  const found: number[] = []
  let cursor = 0 // in code points, as links are
  for (const [start, end] of [...links, [letters.length, letters.length] as const]) {
    const before = letters.slice(0, start).join('')
    const shift = letters.slice(0, cursor).join('').length
    for (WORD.lastIndex = shift; WORD.lastIndex < before.length; ) {
      const at = WORD.lastIndex
      const word = WORD.exec(before)
      if (word) found.push(point(at + word[0].length))
      WORD.lastIndex = word ? at + word[0].length : at + (letters[point(at)]?.length ?? 1)
    }
    if (end > start) found.push(end)
    cursor = end
  }
  return found
}
