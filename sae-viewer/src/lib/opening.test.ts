import { expect, it } from 'vitest'
import { FEATURES, HEADLINES, writeAddress } from './address'
import { IN_ORDER, opened } from './opening'

const run = { labelled: true, has_causes: true }

it('opens on wrong and uncertain headlines where the run has causes', () => {
  expect(writeAddress(opened(HEADLINES, run))).toBe('/?sort=loss&order=desc&effects=true')
  expect(writeAddress(opened(HEADLINES, { ...run, labelled: false }))).toBe('/?sort=confidence&effects=true')
  expect(opened({ ...HEADLINES, run: 'run-002', grain: 'pieces', panel: 'quality' }, run)).toMatchObject({ sort: 'loss', run: 'run-002', panel: 'quality' })
})

it('leaves an address as it is that says what it shows, and every address of a run without causes', () => {
  for (const said of [{ q: 'cuts' }, { correct: false }, { open: 0 }, { feature: 3 }, { effects: true }, IN_ORDER, { sort: 'margin' as const }]) {
    const address = { ...HEADLINES, ...said }
    expect(opened(address, run)).toBe(address)
  }
  for (const other of [undefined, { ...run, has_causes: false }]) expect(opened(HEADLINES, other)).toBe(HEADLINES)
  expect(opened(FEATURES, run)).toBe(FEATURES)
})

it('all headlines in order have an address that is not the opening view', () => {
  expect(writeAddress({ ...HEADLINES, ...IN_ORDER })).toBe('/?sort=position')
})
