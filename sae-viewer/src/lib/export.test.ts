import { describe, expect, test } from 'vitest'
import type { FiredFeature, Headline } from '../interpAPI'
import { csv, fileName } from './download'
import { headlineHtml } from './standalone'

describe('csv', () => {
  test('quotes where needed and keeps formulas as text', () => {
    const rows = [
      { feature: 7, name: 'a "b", c', note: 'two\nlines', value: -0.5 },
      { feature: 8, name: '=HYPERLINK("evil")', note: null, value: 2 },
    ]
    expect(csv(rows)).toBe(
      '\ufefffeature,name,note,value\r\n7,"a ""b"", c","two\nlines",-0.5\r\n8,"\'=HYPERLINK(""evil"")",,2\r\n',
    )
  })

  test('without rows is one empty line', () => expect(csv([])).toBe('\ufeff\r\n'))
})

test('a file name has no character with a meaning in a path', () => {
  expect(fileName('../run 1: “é”/features.csv')).toBe('..-run-1-features.csv')
})

test('a headline as HTML shows hostile text as text', () => {
  const text = '<img src=x onerror=alert(1)> & "shares" \u202e\u0007 😀'
  const lit: FiredFeature = { feature: 3, activation: 2, position: 1, token: '<', word: '<script>', positions: [1], values: [2] }
  const headline: Headline = {
    headline: 0,
    headline_id: 'abc',
    text,
    label: 0,
    prediction: 1,
    probabilities: [0.25, 0.75],
    tokens: ['[CLS]', '<', '[SEP]'],
    starts: [0, 0, 0],
    ends: [0, 4, 0],
    words: [-1, 0, -1],
    columns: {},
    features: [lit],
    effects: null,
    found_names: {},
    similarity: null,
  }
  const html = headlineHtml(headline, lit, { run: 'run-001', labels: ['<b>', 'Bullish'], name: '</title><script>' })
  expect(html).toContain('<mark class="h8" title="activation 2.00">&lt;img</mark>')
  expect(html).not.toMatch(/<(img|script)/)
  expect(html).toContain('label <b>&lt;b&gt;</b>')
  expect(html).not.toContain('\u202e')
  expect(html).toContain('😀')
  expect(html.match(/<\/title>/g)).toHaveLength(1)
})
