/** Letters as the server's languages know them, from the tables of `viz_analysis/share/letters.py`. */

type Runs = [first: number, last: number][]

export interface LetterTables {
  alnum: Runs
  casefold: [code: number, text: string][]
  starts: Runs
  goes_on: Runs
  folded: [code: number, form: number][]
}

/** What Python calls white space, but for the blank. */
const SPACE = '\\t-\\r\\x1c-\\x1f\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000'
const PIECE = new RegExp(`"([^"]*)"|([^ ${SPACE}"]+)`, 'gu')

/** Words that stand behind each other; the last one may be the beginning of a longer one. */
export interface Phrase {
  words: string[]
  begun: boolean
}

export class Letters {
  private readonly folding: Map<number, string>
  private readonly forms: Map<number, number>

  constructor(private readonly tables: LetterTables) {
    this.folding = new Map(tables.casefold)
    this.forms = new Map(tables.folded)
  }

  /** The text without differences of case. */
  casefold(text: string): string {
    return Array.from(text, (letter) => this.folding.get(codeOf(letter)) ?? letter).join('')
  }

  /** The words of a text, in the form of the text index. */
  words(text: string): string[] {
    const words: string[] = []
    let word: string | undefined
    for (const letter of text) {
      const code = codeOf(letter)
      if (isIn(this.tables.starts, code) || (word !== undefined && isIn(this.tables.goes_on, code))) {
        const form = this.forms.get(code) ?? code
        word = (word ?? '') + (form ? String.fromCodePoint(form) : '')
      } else if (word !== undefined) {
        words.push(word)
        word = undefined
      }
    }
    if (word !== undefined) words.push(word)
    return words
  }

  /**
   * The phrases that a headline must hold: each word of a search, and the words in double quotes in their order. The
   * last word may be begun, unless it is a single letter. Empty where the search has no word.
   */
  phrases(search: string): Phrase[] {
    const pieces = [...search.replaceAll('\0', ' ').matchAll(PIECE)]
      .map(([, quoted, plain]) => ({ piece: quoted || (plain ?? ''), plain: plain !== undefined }))
      .filter(({ piece }) => Array.from(piece).some((letter) => this.isAlnum(letter)))
    const last = pieces.at(-1)
    const ends = Array.from(last?.piece ?? '')
    const begun = last?.plain === true && ends.length > 1 && ends.slice(-2).every((letter) => this.isAlnum(letter))
    return pieces
      .map(({ piece }, i) => ({ words: this.words(piece), begun: begun && i === pieces.length - 1 }))
      .filter(({ words }) => words.length > 0)
  }

  private isAlnum(letter: string): boolean {
    return isIn(this.tables.alnum, codeOf(letter))
  }
}

/** The order of UTF-8 and of code points, which is not that of UTF-16. */
export function compareByCodePoint(a: string, b: string): number {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) {
    const difference = rank(a.charCodeAt(i)) - rank(b.charCodeAt(i))
    if (difference !== 0) return difference
  }
  return a.length - b.length
}

/** Surrogates stand behind all other units. */
function rank(unit: number): number {
  return unit >= 0xe000 ? unit - 0x800 : unit >= 0xd800 ? unit + 0x2000 : unit
}

function codeOf(letter: string): number {
  return letter.codePointAt(0) ?? 0
}

function isIn(runs: Runs, code: number): boolean {
  let low = 0
  let high = runs.length
  while (low < high) {
    const middle = (low + high) >> 1
    if ((runs[middle]?.[1] ?? 0) < code) low = middle + 1
    else high = middle
  }
  return (runs[low]?.[0] ?? Infinity) <= code
}
