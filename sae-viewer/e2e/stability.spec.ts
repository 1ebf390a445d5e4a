/** In how many other seeds features are found, and what the SAE is held against, on a made-up run that has both. */

import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { AxeBuilder } from '@axe-core/playwright'
import { expect, freePort, PYTHON, Server, test } from './api'

let server: Server
const folder = mkdtempSync(join(tmpdir(), 'viewer-e2e-'))
// Seed 1 finds every second feature again, seed 2 every fourth.
const PROGRAM = `
import sys
from pathlib import Path
from tests.support.indexed_runs import write_evidence, write_whole_run
write_evidence(write_whole_run(Path(sys.argv[1])))
`

test.beforeAll(async () => {
  const runs = join(folder, 'analysis_data')
  execFileSync(PYTHON, ['-c', PROGRAM, runs], { cwd: resolve('..') })
  server = await Server.api(runs, await freePort()).start()
})
test.afterAll(async () => {
  await server.stop()
  rmSync(folder, { recursive: true, force: true })
})

test('a feature shows in how many other seeds it is found, in the list, on its page and on its card', async ({ page }) => {
  await page.goto(`${server.url}/features?metric=found_in_seeds&support=live`)
  const rows = page.locator('[data-row]')
  await expect(rows.first().getByText('Found in 2 of 2 other seeds')).toBeAttached()
  await page.getByRole('button', { name: /^Other seeds/ }).click()
  await page.getByRole('menuitemradio', { name: /found in all 2/ }).click()
  await expect(page).toHaveURL(/min_seeds=2/)
  await expect(page.getByText('found in 2 other seeds or more')).toBeVisible()
  const numbers = await rows.evaluateAll((links) => links.map((link) => Number(/features\/(\d+)/.exec(link.getAttribute('href') ?? '')?.[1])))
  expect(numbers.length).toBeGreaterThan(0)
  expect(numbers.filter((n) => n % 4 !== 0)).toEqual([])
  await rows.first().click()
  await expect(page.getByRole('article').getByText('Found in 2 of 2 other seeds')).toBeAttached()
  await page.getByRole('link', { name: 'Card to cite' }).click()
  await expect(page.getByText('Found in 2 of 2 other seeds.')).toBeVisible()
})

test('the quality panel says how many features are stable and which claims fail, in words', async ({ page }) => {
  await page.goto(`${server.url}/?panel=quality`)
  const baselines = page.getByRole('region', { name: 'Baselines' })
  const words = baselines.getByRole('row', { name: /^bag of words/ })
  await expect(words.getByText('beats the SAE')).toHaveCount(1)
  await expect(baselines.getByRole('row', { name: /^neurons/ }).getByText('no clear difference')).toHaveCount(1)
  await expect(baselines.getByRole('row', { name: /^this SAE/ }).getByText(/beat|difference/)).toHaveCount(0)
  await expect(page.getByText('2 of 4 claims that the SAE is better than a baseline fail:')).toBeVisible()
  await expect(page.getByText('The SAE with 1 is worse than bag of words.')).toBeVisible()
  await expect(page.getByText(/are found in all 2 other seeds and count as stable\. Of random directions, 1\.0 %/)).toBeVisible()
  const { violations } = await new AxeBuilder({ page }).include('dialog').analyze()
  expect(violations.map(({ id }) => id)).toEqual([])
  await page.getByRole('row', { name: /^1 of 2/ }).getByRole('link').click()
  await expect(page).toHaveURL(/min_seeds=1/)
})
