/** Tokens beside those of the classifier's own tokenizer, which `tests/viz_analysis/test_shared_bench.py` writes. */

import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { Tokenizer, type TokenizedText, type TokenizerFacts } from './tokens'

interface Cases {
  facts: TokenizerFacts
  strip_links: boolean
  texts: TokenizedText[]
}

const file = process.env['TOKEN_CASES']

it.skipIf(!file)('reads texts as the tokenizer does', () => {
  const { facts, strip_links, texts } = JSON.parse(readFileSync(file ?? '', 'utf8')) as Cases
  const tokenizer = new Tokenizer(facts)
  expect(texts.length).toBeGreaterThan(0)
  for (const expected of texts) expect(tokenizer.read(expected.text, strip_links), JSON.stringify(expected.text)).toStrictEqual(expected)
}, 300_000) // ms, for a busy machine
