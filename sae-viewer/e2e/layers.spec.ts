/** Which layer? The section of the quality panel, on a made-up study that has compared its layers, and on one that has not. */

import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { AxeBuilder } from '@axe-core/playwright'
import { expect, freePort, PYTHON, Server, test } from './api'

let server: Server
const study = mkdtempSync(join(tmpdir(), 'viewer-e2e-'))
const PROGRAM = `
import sys
from pathlib import Path
from sae_pipeline.runs.folders import read_run
from tests.support.made_up_layers import write_layers
from tests.support.run_factory import write_run
study = Path(sys.argv[1])
run = write_run(study / "analysis_data", 5, 64)
if "layers" in sys.argv:
    write_layers(study, read_run(run).metadata.classifier_hash)
`
const make = (...what: string[]) => execFileSync(PYTHON, ['-c', PROGRAM, study, ...what], { cwd: resolve('..') })

test.beforeAll(async () => {
  make()
  server = await Server.api(join(study, 'analysis_data'), await freePort()).start()
})
test.afterAll(async () => {
  await server.stop()
  rmSync(study, { recursive: true, force: true })
})

test('which layer is answered in sentences, three charts and a table, which can be saved', async ({ page }) => {
  await page.goto(`${server.url}/?panel=quality`)
  const dialog = page.getByRole('dialog')
  await expect(dialog.getByText('python -m sae_pipeline layers')).toBeVisible()
  make('layers')
  await page.reload()
  await expect(dialog.getByText('The decision is in the words at layers 2, 4, 6, 8 and 10')).toBeVisible()
  for (const title of ['Predictions that change without …', 'Accuracy of a probe on …', 'What the SAE loses']) {
    await expect(dialog.getByRole('img', { name: title })).toBeVisible()
  }
  await expect(dialog.getByRole('img', { name: 'What the SAE loses' }).locator('circle')).toHaveCount(5) // layer 6 has no SAE
  const table = dialog.getByRole('region', { name: 'Figures by layer' })
  await expect(table.getByRole('row')).toHaveCount(7)
  await expect(table.getByRole('row').nth(4)).toContainText('39.0 %')
  const saved = page.waitForEvent('download')
  await dialog.getByRole('button', { name: 'Save as CSV: the layers' }).click()
  const lines = readFileSync(await (await saved).path(), 'utf8').trim().split('\n')
  expect(lines).toHaveLength(7)
  expect(lines[0]).toContain('changed_words_low')
  await page.setViewportSize({ width: 390, height: 900 })
  await expect(dialog.getByRole('img', { name: 'Accuracy of a probe on …' })).toBeVisible()
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(390)
  expect((await new AxeBuilder({ page }).include('dialog').analyze()).violations).toEqual([])
})
