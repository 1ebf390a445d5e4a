/** Named sets of features: made in several places, followed into another SAE that has a run, renamed, saved to a file, deleted. */

import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { AxeBuilder } from '@axe-core/playwright'
import type { Page } from '@playwright/test'
import { expect, freePort, loaded, PYTHON, Server, test } from './api'

let server: Server
const folder = mkdtempSync(join(tmpdir(), 'viewer-e2e-'))
// run-001 is of the SAE "other", which the family of run-002 names. Every feature is found there, as feature 3.
const PROGRAM = `
import sys
from pathlib import Path
import tests.support.run_factory as factory
from tests.support.indexed_runs import write_whole_run
own = factory.MADE_WITH
factory.MADE_WITH = own | {"sae_hash": "other"}
factory.write_run(Path(sys.argv[1]), 5, 64)
factory.MADE_WITH = own
write_whole_run(Path(sys.argv[1]))
`

test.beforeAll(async () => {
  execFileSync(PYTHON, ['-c', PROGRAM, folder], { cwd: resolve('..') })
  server = await Server.api(folder, await freePort()).start()
})
test.afterAll(async () => {
  await server.stop()
  rmSync(folder, { recursive: true, force: true })
})

/** Presses “Save as a set”, types a name and saves. */
async function saveAs(page: Page, name: string, button: string): Promise<void> {
  await page.getByRole('button', { name: 'Save as a set' }).click()
  const form = page.getByRole('form', { name: 'Save as a set' })
  await form.getByRole('combobox', { name: 'Name of the set' }).fill(name)
  await form.getByRole('button', { name: button, exact: true }).click()
}

test('a set is made from a search and the edits of mend, filters the list, is followed into another SAE, and is deleted', async ({ page }) => {
  await page.goto(`${server.url}/features?q=25`)
  await loaded(page)
  await saveAs(page, '  <b>rates</b>  cut ', 'Save 11') // 25 and 250 to 259
  await expect(page.getByText('The set “<b>rates</b> cut” now has 11 features.')).toBeVisible()
  await page.goto(`${server.url}/?panel=quality`)
  const dialog = page.getByRole('dialog')
  await saveAs(page, '<b>rates</b> cut', 'Add to this set 1')
  await expect(dialog.getByText('now has 12 features')).toBeVisible()

  await page.goto(`${server.url}/features`)
  await loaded(page)
  await page.getByRole('button', { name: /^Set/ }).click()
  await page.getByRole('menuitemradio', { name: /rates/ }).click()
  await expect(page.getByText('12 of 300 features')).toBeVisible()
  await page.getByRole('button', { name: 'Remove the filter set “<b>rates</b> cut”' }).click()
  await expect(page.getByText('300 features', { exact: true })).toBeVisible()
  await page.goto(`${server.url}/features?set=gone`)
  await expect(page.getByText("This SAE has no set of features named 'gone'; it has '<b>rates</b> cut'.")).toBeVisible()

  await page.goto(`${server.url}/?panel=labels`)
  const sets = dialog.getByRole('list', { name: 'Sets of features' })
  await sets.getByRole('button', { name: /rates/ }).click()
  const members = sets.getByRole('list', { name: 'Found in other SAEs' })
  await expect(members.getByText('8k, seed 0: 12 of 12 found')).toHaveCount(2)
  await expect(members.getByText('32k, seed 1: 5 of 12 found')).toBeVisible() // those with an even number
  await expect(sets.getByRole('region', { name: 'Features of the set' }).getByRole('row')).toHaveCount(13)
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
    const { violations } = await new AxeBuilder({ page }).analyze()
    expect(violations.map(({ id }) => id)).toEqual([])
  }
  await members.getByRole('button', { name: 'Copy the set there' }).click()
  await expect(sets.getByText('run-001 has the set now, with 1 feature.')).toBeVisible()
  await members.getByRole('button', { name: 'Copy the set there' }).click()
  await expect(sets.getByRole('alert')).toHaveText('There is a set “<b>rates</b> cut” already; rename or delete it first.')

  await sets.getByRole('button', { name: 'Name and note' }).click()
  await sets.getByRole('textbox', { name: 'Name of the set' }).fill('cuts')
  await sets.getByRole('textbox', { name: 'Note on the set' }).fill('fires on\nguidance')
  await sets.getByRole('button', { name: 'Save' }).click()
  await expect(sets.getByText('fires on guidance')).toBeVisible()
  await expect(sets.getByRole('button', { name: /^cuts/ })).toHaveAttribute('aria-expanded', 'true')
  const saved = page.waitForEvent('download')
  await dialog.getByRole('button', { name: /^Save as JSON/ }).click()
  const file = readFileSync(await (await saved).path())
  await sets.getByRole('button', { name: 'Delete', exact: true }).click()
  await sets.getByRole('button', { name: 'Delete this set' }).click()
  await expect(dialog.getByText('To keep several features under one name')).toBeVisible()
  await dialog.getByLabel('Add annotations from a file').setInputFiles({ name: 'sets.json', mimeType: 'application/json', buffer: file })
  await dialog.getByRole('button', { name: 'Add 0 annotations and 1 set' }).click()
  await expect(sets.getByRole('button', { name: /^cuts/ })).toContainText('12 features')

  await page.goto(`${server.url}/?panel=labels&run=run-001`)
  await sets.getByRole('button', { name: /rates/ }).click()
  await expect(sets.getByText('python -m sae_pipeline family --run run-001')).toBeVisible()
  await sets.getByRole('link', { name: 'Show in the list of features' }).click()
  await expect(page.getByText('1 of 64 features')).toBeVisible()
})

test('a region of the map becomes a set', async ({ page }) => {
  await page.goto(`${server.url}/map?region=0`)
  const n = Number(/\d+/.exec((await page.getByRole('region', { name: 'Listed features' }).getByRole('heading').textContent()) ?? '')?.[0])
  await saveAs(page, 'from the map', `Save ${n}`)
  await expect(page.getByText(`The set “from the map” now has ${n} features.`)).toBeVisible()
  await page.goto(`${server.url}/map?region=1`)
  await expect(page.getByText('now has')).toHaveCount(0)
})
