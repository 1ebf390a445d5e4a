import { describe, expect, it } from 'vitest'
import { breakable, activationOn, around, stretches, utf16Offsets, visible } from './text'

/** A headline from its tokens; offsets are code points, as the API sends them. */
function source(text: string, pieces: [token: string, start: number, end: number, word: number][]) {
  return {
    text,
    tokens: pieces.map(([token]) => token),
    starts: pieces.map(([, start]) => start),
    ends: pieces.map(([, , end]) => end),
    words: pieces.map(([, , , word]) => word),
  }
}
const CLS: [string, number, number, number] = ['[CLS]', 0, 0, -1]
const SEP: [string, number, number, number] = ['[SEP]', 0, 0, -1]

describe('around', () => {
  const text = 'a b c d e https://x'
  const parts = stretches(source(text, [CLS, ...['a', 'b', 'c', 'd', 'e'].map((t, i): [string, number, number, number] => [t, 2 * i, 2 * i + 1, i]), SEP]))
  const shown = (position: number | undefined, context: number | undefined) => {
    const { parts: cut, cutBefore, cutAfter } = around(parts, position, context)
    return `${cutBefore ? '…' : ''}${cut.map((part) => part.text).join('')}${cutAfter ? '…' : ''}`
  }
  it('keeps the given number of words on either side', () => {
    expect(shown(3, 1)).toBe('…b c d…')
    expect(shown(3, 0)).toBe('…c…')
    expect(shown(1, 2)).toBe('a b c…')
    expect(shown(5, 1)).toBe('…d e https://x')
  })
  it('keeps all without a window, without a position or for a wide one', () => {
    for (const cut of [shown(3, undefined), shown(undefined, 1), shown(77, 1), shown(3, 99)]) expect(cut).toBe(text)
  })
})

describe('utf16Offsets', () => {
  it('is the identity on text without surrogate pairs', () => {
    const unit = utf16Offsets('é€ profit')
    expect([0, 2, 9].map(unit)).toEqual([0, 2, 9])
  })
  it('counts a character beyond the basic plane as two units', () => {
    const text = '🚀a𝄞b'
    const unit = utf16Offsets(text)
    expect([0, 1, 2, 3, 4].map(unit)).toEqual([0, 2, 3, 5, 6])
    expect(text.slice(unit(2), unit(3))).toBe('𝄞')
  })
  it('stays inside the text', () => {
    expect(utf16Offsets('🚀')(7)).toBe(2)
    expect(utf16Offsets('ab')(7)).toBe(2)
    expect(utf16Offsets('ab')(-1)).toBe(0)
  })
  it('agrees with a count by code points on every text of three characters', () => {
    const alphabet = ['a', 'é', '€', '𝄞', '🚀', ' ', '\u200f', '漢']
    for (const characters of alphabet.flatMap((one) => alphabet.flatMap((two) => alphabet.map((three) => [one, two, three])))) {
      const unit = utf16Offsets(characters.join(''))
      characters.forEach((_, i) => {
        expect(unit(i)).toBe(characters.slice(0, i).join('').length)
      })
    }
  })
})

describe('stretches', () => {
  const hpe = source('$HPE: headwinds https://t.co/x', [
    CLS,
    ['$', 0, 1, 0],
    ['hp', 1, 3, 0],
    ['##e', 3, 4, 0],
    [':', 4, 5, 1],
    ['head', 6, 10, 2],
    ['##wind', 10, 14, 2],
    ['##s', 14, 15, 2],
    SEP,
  ])

  it('merges pieces into the words as written and leaves specials out', () => {
    expect(stretches(hpe)).toEqual([
      { text: '$HPE', kind: 'word', positions: [1, 2, 3] },
      { text: ':', kind: 'word', positions: [4] },
      { text: ' ', kind: 'gap', positions: [] },
      { text: 'headwinds', kind: 'word', positions: [5, 6, 7] },
      { text: ' https://t.co/x', kind: 'unread', positions: [] },
    ])
  })
  it('shows pieces and specials when asked', () => {
    const found = stretches(hpe, 'pieces')
    expect(found.map((stretch) => stretch.text)).toEqual([
      '[CLS]', '$', 'HP', 'E', ':', ' ', 'head', 'wind', 's', ' https://t.co/x', '[SEP]',
    ])
    expect(found.filter((stretch) => stretch.kind === 'special').map((stretch) => stretch.positions)).toEqual([[0], [8]])
  })
  it('slices by code points', () => {
    const text = '🚀🚀 Tesla 𝄞soars'
    const found = stretches(source(text, [CLS, ['tesla', 3, 8, 0], ['[UNK]', 9, 10, 1], ['soars', 10, 15, 1], SEP]))
    expect(found.filter((stretch) => stretch.kind === 'word').map((stretch) => stretch.text)).toEqual(['Tesla', '𝄞soars'])
    expect(found[0]).toEqual({ text: '🚀🚀 ', kind: 'unread', positions: [] })
  })
  it.each(['words', 'pieces'] as const)('loses no character and no position (%s)', (grain) => {
    for (const text of ['a 🚀 b', '  x  ', '<b>hi</b>', 'é€𝄞Corp beat', '\u202eflip\u202c $A']) {
      const characters = Array.from(text)
      const pieces = characters.flatMap((character, i): [string, number, number, number][] =>
        character.trim() ? [[character, i, i + 1, Math.floor(i / 3)]] : [],
      )
      const found = stretches(source(text, [CLS, ...pieces, SEP]), grain)
      expect(found.filter((s) => s.kind !== 'special').map((s) => s.text).join('')).toBe(text)
      expect(found.filter((s) => s.kind === 'word').flatMap((s) => s.positions)).toEqual(pieces.map((_, i) => i + 1))
    }
  })
  it('survives offsets that overlap, run backwards or leave the text', () => {
    const found = stretches(source('abc', [['x', 0, 2, 0], ['y', 1, 2, 1], ['z', 2, 99, 2], ['w', 0, 1, 3]]))
    expect(found.map((stretch) => stretch.text).join('')).toBe('abc')
    expect(found.flatMap((stretch) => stretch.positions)).toEqual([0, 1, 2, 3])
  })
  it('keeps a headline without tokens readable', () => {
    expect(stretches(source('only a link', [CLS, SEP]))).toEqual([{ text: 'only a link', kind: 'unread', positions: [] }])
    expect(stretches(source('', []))).toEqual([])
  })
})

describe('activationOn', () => {
  it('is the maximum over the pieces of a word', () => {
    const firing = { positions: [2, 3, 6], values: [0.5, 3.2, 9] }
    expect(activationOn({ text: 'HPE', kind: 'word', positions: [1, 2, 3] }, firing)).toBe(3.2)
    expect(activationOn({ text: 'x', kind: 'word', positions: [4] }, firing)).toBe(0)
  })
})

describe('visible', () => {
  it('shows invisible characters, each unit by one', () => {
    for (const hidden of ['\u0000', '\u001b', '\u007f', '\u0085', '\u200b', '\u202e', '\u2066', '\ufeff']) {
      expect(visible(`a${hidden}b`)).toBe('a\ufffdb')
    }
  })
  it('leaves other text as it is', () => {
    const text = 'é\t𝄞 <b>&amp; مرحبا 👩‍👩‍👧\n'
    expect(visible(text)).toBe(text)
  })
})

it('only a very long word gets places to break, and none inside a visible character', () => {
  expect(breakable('downgrade')).toEqual(['downgrade'])
  const flags = '🇺🇸👩‍👩‍👧é'.repeat(100)
  const pieces = breakable(flags)
  expect(pieces.join('')).toBe(flags)
  expect(pieces.length).toBe(5)
  expect(breakable('x'.repeat(10_000)).every((piece) => piece.length <= 64)).toBe(true)
})
