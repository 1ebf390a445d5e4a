/** What verbs found about a whole run: changed texts, edits that mend predictions, calibration, what fine-tuning changed; on a run that has them, and on one that has none. */

import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { AxeBuilder } from '@axe-core/playwright'
import { expect, freePort, PYTHON, Server, test } from './api'

let server: Server
const folder = mkdtempSync(join(tmpdir(), 'viewer-e2e-'))
const PROGRAM = `
import sys
from pathlib import Path
from tests.support.indexed_runs import write_whole_run
from tests.support.run_factory import write_run
write_run(Path(sys.argv[1]), 5, 64)
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

test('a kind of change opens to its pairs, whose address can be shared; links lead to feature, headline and bench', async ({ page }) => {
  await page.goto(`${server.url}/?panel=quality`)
  await page.getByRole('button', { name: 'Contrast' }).click()
  const kinds = page.getByRole('list', { name: 'Kinds of change' })
  await expect(kinds.getByRole('button')).toHaveCount(2)
  await kinds.getByRole('button', { name: /Retweet/ }).click()
  await expect(page).toHaveURL(/panel=contrast&change=0/)
  await page.reload()
  await expect(kinds.getByRole('button', { name: /Retweet/ })).toHaveAttribute('aria-expanded', 'true')
  await expect(kinds.locator('ins')).toHaveText('RT ')
  await expect(kinds.getByText('not as expected')).toBeVisible()
  await expect(kinds.getByText('Of 1 changed prediction, the leading 1 features explain 1')).toBeVisible()
  expect(await kinds.getByRole('link', { name: 'Open the headline' }).getAttribute('href')).toContain('open=0')
  expect(decodeURIComponent((await kinds.getByRole('link', { name: 'Compare both on the bench' }).getAttribute('href')) ?? '')).toMatch(/bench=\{"text":"RT\+/)
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
    const { violations } = await new AxeBuilder({ page }).analyze()
    expect(violations.map(({ id }) => id)).toEqual([])
  }
  await page.getByRole('dialog').getByRole('button', { name: 'Close' }).click()
  await expect(page).not.toHaveURL(/panel|change/)
  await page.goBack()
  await page.goto(`${server.url}/?panel=contrast&change=0`)
  await kinds.getByRole('table').getByRole('link').click()
  await expect(page).toHaveURL(/\/features\/3/)
})

test('a run without changed texts says which command makes them, and a number without a kind opens none', async ({ page }) => {
  await page.goto(`${server.url}/?panel=contrast&run=run-001`)
  await expect(page.getByRole('dialog').getByText('python -m sae_pipeline contrast --run run-001')).toBeVisible()
  await page.goto(`${server.url}/?panel=contrast&change=99`)
  await expect(page.getByRole('list', { name: 'Kinds of change' }).getByRole('button', { expanded: true })).toHaveCount(0)
})

test('the quality panel shows edits that mend predictions, kept or not, and what they do to other headlines', async ({ page }) => {
  await page.goto(`${server.url}/?panel=quality`)
  const dialog = page.getByRole('dialog')
  await expect(dialog.getByText('this may be chance')).toBeVisible()
  const edits = dialog.getByRole('region', { name: 'Edits' })
  await expect(edits.getByRole('row')).toHaveCount(4) // head, none, two steps
  await expect(edits.getByRole('row').nth(2)).toContainText('ablated')
  await expect(edits.getByRole('row').nth(3)).toContainText('(not kept)')
  const changes = dialog.getByRole('region', { name: 'Predictions before and after' })
  await expect(changes.getByRole('row', { name: /with the edits/ })).toContainText('100.0 %')
  await expect(dialog.getByText('3 sets of random features')).toContainText('1 is as good as the edits')
  await edits.getByRole('link').first().click()
  await expect(page).toHaveURL(/\/features\/3/)
  await page.goto(`${server.url}/?panel=quality&run=run-001`)
  await expect(dialog.getByText('python -m sae_pipeline mend --run run-001')).toBeVisible()
})

test('the quality panel says how far probabilities can be trusted, and when to abstain', async ({ page }) => {
  await page.goto(`${server.url}/?panel=quality`)
  const dialog = page.getByRole('dialog')
  await expect(dialog.getByText('The probabilities are too sure: they fit better if the logits are divided by 1.50.')).toBeVisible()
  await expect(dialog.getByText('Features help to say when to abstain')).toBeVisible()
  const marks = dialog.getByRole('img', { name: 'Confidence and accuracy' }).locator('title')
  await expect(marks).toHaveCount(4) // two bins, as it is and with the temperature
  await expect(marks.first()).toContainText('confidence 60.0 %, right 50.0 % (10.0 % to 100.0 %), 2 headlines')
  await expect(dialog.getByRole('img', { name: /left unanswered/ }).locator('polyline')).toHaveCount(3)
  const orders = dialog.getByRole('region', { name: 'Error rates' })
  await expect(orders.getByRole('row', { name: /^confidence and features/ })).toContainText('25.0 %0.0 %0.0 %10.0 %[−4.00, −1.00 points]')
  await expect(dialog.getByText('2 of 40 fire in more of the errors than elsewhere, where chance gives at most 2; 7 are not found')).toBeVisible()
  await dialog.getByTitle('2 of 3 headlines are predicted wrongly').getByRole('link').first().click()
  await expect(page).toHaveURL(/\/features\/3/)
  await page.goto(`${server.url}/?panel=quality&run=run-001`)
  await expect(dialog.getByText('python -m sae_pipeline calibrate --run run-001')).toBeVisible()
})

test('a feature that fine-tuning changed opens to the same headline before and after; its address can be shared', async ({ page }) => {
  await page.goto(`${server.url}/?panel=diff`)
  const dialog = page.getByRole('dialog')
  await expect(dialog.getByText(/1 of 40 features are at least 1.5 times as strong as before, and 1 at most two thirds as strong/)).toBeVisible()
  await expect(dialog.getByRole('region', { name: 'Models' }).getByRole('row')).toHaveCount(4)
  await expect(dialog.getByRole('region', { name: 'Changed features ablated' }).getByText('90.0 % → 50.0 %')).toHaveCount(2)
  await dialog.getByRole('region', { name: 'Grown' }).getByRole('button').click()
  await expect(page).toHaveURL(/panel=diff&change=5/)
  await page.reload()
  const headlines = dialog.getByRole('list', { name: 'Headlines of feature 5, before and after' })
  await expect(headlines.getByRole('listitem')).toHaveCount(1)
  const sides = headlines.getByRole('link')
  await expect(sides).toHaveCount(2)
  expect(await sides.nth(0).innerText()).toBe(await sides.nth(1).innerText())
  const deepest = async (side: number) => Math.max(...(await sides.nth(side).locator('[data-activation]').evaluateAll((marks) => marks.map((mark) => Number(mark.getAttribute('data-activation'))))))
  expect(await deepest(0)).toBe(await deepest(1))
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
    const { violations } = await new AxeBuilder({ page }).analyze()
    expect(violations.map(({ id }) => id)).toEqual([])
  }
  await dialog.getByRole('link', { name: /^3/ }).click()
  await expect(page).toHaveURL(/\/features\/3/)
})

test('a run whose classifier was not compared says which command compares it', async ({ page }) => {
  await page.goto(`${server.url}/?panel=diff&run=run-001`)
  await expect(page.getByRole('dialog').getByText('python -m sae_pipeline diff --run run-001')).toBeVisible()
})
