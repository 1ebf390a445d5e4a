import { describe, expect, it } from 'vitest'
import { BENCH, FEATURES, HEADLINES, readAddress, scrollKey, wholeNumber, writeAddress, type Address, type HeadlinesAddress } from './address'

/** Reads a link as the browser does: path and query apart. */
function follow(link: string) {
  const url = new URL(link, 'http://localhost')
  return readAddress(url.pathname, url.search)
}

describe('addresses', () => {
  it.each<[string, Address]>([
    ['/', HEADLINES],
    ['/features', FEATURES],
    ['/features/1234', { ...FEATURES, feature: 1234 }],
    ['/?correct=false&sort=loss&order=desc', { ...HEADLINES, correct: false, sort: 'loss', order: 'desc' }],
    ['/?label=0&prediction=2', { ...HEADLINES, label: 0, prediction: 2 }],
    ['/?feature=7&open=12&tokens=pieces', { ...HEADLINES, feature: 7, open: 12, grain: 'pieces' }],
    ['/features/3?run=run-034&metric=kurtosis', { ...FEATURES, feature: 3, run: 'run-034', metric: 'kurtosis' }],
    ['/?min_confidence=0.5&max_confidence=0.95', { ...HEADLINES, minConfidence: 0.5, maxConfidence: 0.95 }],
    ['/?open=0&lit=17&effects=true', { ...HEADLINES, open: 0, lit: 17, effects: true }],
    ['/?sort=position', { ...HEADLINES, sort: 'position' }],
    ['/bench', BENCH],
    ['/bench?bench=a%3Ab&headline=3&panel=quality&compare=run-002', { ...BENCH, bench: 'a:b', headline: 3, panel: 'quality', compare: 'run-002' }],
    ['/features/7/card?run=run-034', { ...FEATURES, feature: 7, card: true, run: 'run-034' }],
    ['/features?token=cuts&order=asc&support=thin', { ...FEATURES, token: 'cuts', order: 'asc', support: 'thin' }],
    ['/features?min_density=0.0001&max_density=1e-7', { ...FEATURES, minDensity: 0.0001, maxDensity: 1e-7 }],
    ['/features/3?leaning=1&labelled=true&context=5', { ...FEATURES, feature: 3, leaning: 1, labelled: true, context: 5 }],
  ])('%s is read, and written the same', (link, address) => {
    expect(follow(link)).toEqual({ address, problems: [] })
    expect(writeAddress(address)).toBe(link)
  })
  it('the former address of a bench over the headlines is the bench', () => {
    expect(follow('/?open=2&bench=a%3Ab&run=run-002').address).toEqual({ ...BENCH, bench: 'a:b', run: 'run-002' })
  })
  it.each(['a&b=c', '100%', '%41', '50 % + x', '“$TSLA” é𝄞', '#?/', ' ', '\u202e'])('a search for %j survives', (q) => {
    for (const address of [{ ...HEADLINES, q }, { ...FEATURES, q }]) {
      expect(follow(writeAddress(address))).toEqual({ address, problems: [] })
    }
  })
  const set: Partial<HeadlinesAddress> = {
    run: 'run-002',
    q: 'up',
    label: 2,
    prediction: 0,
    correct: false,
    feature: 4095,
    sort: 'margin',
    order: 'desc',
    open: 0,
    minConfidence: 1 / 3,
    maxConfidence: 1 - 1 / 7e6,
    lit: 3,
    effects: true,
    panel: 'labels',
    compare: 'run-001,run-003',
    grain: 'pieces',
  }
  it('every filter survives alone, and all survive together and but for one', () => {
    const names = Object.keys(set) as (keyof HeadlinesAddress)[]
    for (const name of names) {
      const alone: Address = { ...HEADLINES, [name]: set[name] }
      const without: Address = { ...HEADLINES, ...set, [name]: HEADLINES[name] }
      for (const address of [alone, without]) expect(follow(writeAddress(address))).toEqual({ address, problems: [] })
    }
    const address = { ...HEADLINES, ...set }
    expect(follow(writeAddress(address))).toEqual({ address, problems: [] })
  })
})

describe('an address with parts that have no meaning', () => {
  it.each([
    ['/?label=banana', 'label=banana'],
    ['/?label=-1', 'label=-1'],
    ['/?label=1e3', 'label=1e3'],
    ['/?open=99999999999', 'open=99999999999'],
    ['/?sort=up', 'sort=up'],
    ['/?correct=maybe', 'correct=maybe'],
    ['/features?tokens=letters', 'tokens=letters'],
    ['/?min_confidence=50', 'min_confidence=50'],
    ['/?max_confidence=-0.5', 'max_confidence=-0.5'],
    ['/?effects=maybe', 'effects=maybe'],
    ['/?panel=moon', 'panel=moon'],
    ['/features?min_density=1e5', 'min_density=1e5'],
    ['/features?support=some', 'support=some'],
    ['/features?context=near', 'context=near'],
  ])('%s is reported and left out', (link, named) => {
    const { address, problems } = follow(link)
    expect(problems).toHaveLength(1)
    expect(problems[0]).toContain(named)
    expect(address).toEqual(link.startsWith('/features') ? FEATURES : HEADLINES)
  })
  it.each(['/features/abc', '/features/-1', '/features/1/2', '/features/1/card/2', '/features/abc/card', '/feature', '/bench/1', '/x/y'])('%s is no page', (link) => {
    expect(follow(link).address.view).toBe('unknown')
  })
  it('keeps the parts that have one', () => {
    const { address, problems } = follow('/?label=banana&q=profit&order=desc')
    expect(address).toEqual({ ...HEADLINES, q: 'profit', order: 'desc' })
    expect(problems).toHaveLength(1)
  })
  it('is cut where it is too long', () => {
    const { address, problems } = follow(`/?q=${'x'.repeat(5000)}`)
    expect(address).toMatchObject({ q: 'x'.repeat(200) })
    expect(problems).toHaveLength(1)
  })
  it('never throws', () => {
    for (const search of ['?%', '?q=%E0%A4%A', '?=&&=', '?label', '?q=a&q=b']) {
      expect(() => readAddress('/features/%', search)).not.toThrow()
      expect(() => readAddress('/', search)).not.toThrow()
    }
  })
})

describe('scrollKey', () => {
  it('does not change when something opens in place', () => {
    expect(scrollKey({ ...HEADLINES, q: 'x', open: 3, grain: 'pieces', lit: 4, panel: 'quality' })).toBe(scrollKey({ ...HEADLINES, q: 'x' }))
    expect(scrollKey({ ...HEADLINES, q: 'x' })).not.toBe(scrollKey(HEADLINES))
    expect(scrollKey({ ...FEATURES, feature: 1 })).not.toBe(scrollKey(FEATURES))
  })
})

describe('wholeNumber', () => {
  it('reads plain digits only', () => {
    expect(['0', '007', '1000000000'].map(wholeNumber)).toEqual([0, 7, 1e9])
    for (const text of ['', ' 1', '1.5', '-1', '1e3', '0x10', '１', '1000000001', '99999999999']) {
      expect(wholeNumber(text)).toBeUndefined()
    }
  })
})
