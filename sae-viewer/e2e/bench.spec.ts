/** The bench on a server with the run's own classifier in memory, and the run's causal findings in the list. */

import { execFileSync } from 'node:child_process'
import { cpSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import AxeBuilder from '@axe-core/playwright'
import type { HeadlinesPage, Intervention, Probe } from '../src/interpAPI'
import { benchOf, readBench, writeBench } from '../src/lib/bench'
import { percent } from '../src/lib/format'
import { expect, freePort, row, Server, test } from './api'

const ANALYSIS = resolve(process.env.E2E_ANALYSIS_DIR ?? '../analysis_data')
const PYTHON = resolve('..', '.venv', 'bin', 'python')
const FLAGS = ['--steps=2', '--bootstrap=100', '--agreement-headlines=2', '--curve-headlines=2', '--flip-headlines=4']
const TEXT = 'Shares surge after profit beats forecasts'

test.describe.configure({ mode: 'serial' })

let folder: string
let server: Server

test.beforeAll(async () => {
  test.setTimeout(240_000)
  folder = mkdtempSync(join(tmpdir(), 'bench-e2e-'))
  cpSync(resolve(ANALYSIS, '..', 'finbert_sae'), join(folder, 'finbert_sae'), { recursive: true, filter: (path) => !path.includes('activations') })
  const newest = readdirSync(ANALYSIS).filter((name) => name.includes('_run-')).sort().at(-1) ?? ''
  cpSync(join(ANALYSIS, newest), join(folder, 'analysis_data', newest), { recursive: true })
  execFileSync(PYTHON, ['-m', 'sae_pipeline', 'intervene', '--root', folder, ...FLAGS], { cwd: resolve('..'), stdio: 'ignore' })
  server = await Server.api(join(folder, 'analysis_data'), await freePort(), '--live').start()
})

test.afterAll(async () => {
  await server.stop()
  rmSync(folder, { recursive: true, force: true })
})

const at = (bench: string) => `${server.url}/?${new URLSearchParams({ bench })}`

async function ask<T>(path: string, question: object): Promise<T> {
  const answer = await fetch(server.url + path, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(question),
  })
  return (await answer.json()) as T
}

const probe = (text: string) => ask<Probe>('/api/probe', { text, steps: 4, top: 12 })

test('a typed headline shows probabilities, features, waterfall and faithfulness', async ({ page }) => {
  await page.goto(at(benchOf('')))
  await page.getByRole('textbox', { name: 'Headline' }).fill(TEXT)
  const bench = page.getByRole('dialog', { name: 'Bench' })
  await expect(bench.getByRole('figure', { name: /Waterfall/ })).toBeVisible()
  const { features, probabilities, prediction } = await probe(TEXT)
  await expect(bench.getByRole('region', { name: 'Features' }).getByRole('listitem')).toHaveCount(features.length)
  const shown = await bench.getByRole('region', { name: 'Before' }).innerText()
  expect(shown).toContain(`${((probabilities[prediction] ?? 0) * 100).toFixed(1)} %`)
  await expect(bench.getByText(/^(Faithful|Unfaithful)/)).toBeVisible()
  await expect(bench.locator('mark').first()).toBeVisible()
  await expect.poll(() => readBench(new URL(page.url()).searchParams.get('bench') ?? '').text).toBe(TEXT)
})

test('hostile text is read as text', async ({ page }) => {
  for (const width of [1440, 390]) {
    await page.setViewportSize({ width, height: 900 })
    await page.goto(at(benchOf(`<img src=x onerror="window.hacked=1"> profit \u202eevil \${window.hacked=1} ${'x'.repeat(150)}`)))
    const bench = page.getByRole('dialog', { name: 'Bench' })
    await expect(bench.getByText(/^(Faithful|Unfaithful)/)).toBeVisible()
    await expect(bench.getByRole('region', { name: 'Before' })).toContainText('%')
    expect(await page.evaluate(() => 'hacked' in window)).toBe(false)
    await expect(bench.locator('img, script')).toHaveCount(0)
    expect(await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)).toBeLessThanOrEqual(0)
  }
})

test('a slider changes the probabilities, and a reload restores it from the address', async ({ page }) => {
  await page.goto(at(benchOf(TEXT)))
  const bench = page.getByRole('dialog', { name: 'Bench' })
  const first = (await probe(TEXT)).features[0]?.feature ?? -1
  const slider = bench.getByRole('slider', { name: new RegExp(`Feature ${first}:`) })
  await slider.focus()
  await slider.press('Home')
  const after = bench.getByRole('region', { name: 'After: features edited' })
  await expect(after).toBeVisible()
  await expect(bench.getByText('ablated', { exact: true })).toBeVisible()
  const edited = await ask<Intervention>('/api/intervene', { text: TEXT, edits: [{ feature: first }] })
  for (const p of edited.after[0]?.probabilities ?? []) await expect(after).toContainText(percent(p))
  const shown = await after.innerText()
  await page.reload()
  await expect(after).toBeVisible()
  await expect.poll(() => after.innerText()).toBe(shown)
  await bench.getByRole('button', { name: 'Undo 1 edit' }).click()
  await expect(bench.getByRole('region', { name: 'After: no edits yet' })).toBeVisible()
})

test('an edited text is compared with the original; an unlisted feature is edited; the edits are audited', async ({ page }) => {
  await page.goto(at(writeBench({ text: 'Shares fall after profit misses forecasts', from: TEXT, edits: [] })))
  const bench = page.getByRole('dialog', { name: 'Bench' })
  await expect(bench.getByRole('region', { name: 'Before: the original text' })).toBeVisible()
  await expect(bench.getByRole('region', { name: 'Features that change' })).toBeVisible()
  await bench.getByPlaceholder('number').fill('7')
  await bench.getByRole('button', { name: 'Add' }).click()
  await expect(bench.getByRole('region', { name: 'After: features edited' })).toBeVisible()
  await bench.getByRole('button', { name: 'Ablate 1 feature in every headline' }).click()
  const audit = bench.getByRole('region', { name: 'Audit' })
  await expect(audit.getByRole('button', { name: 'Ablate 1 feature' })).toBeVisible({ timeout: 15_000 })
  await expect(audit).toContainText('macro-F1')
})

test('a feature that the SAE does not have is reported in a sentence', async ({ page }) => {
  await page.goto(at(writeBench({ text: TEXT, from: TEXT, edits: [{ feature: 999_999, operation: 'ablate', value: 0 }] })))
  await expect(page.getByText(/There is no feature 999999/)).toBeVisible()
})

test('the open headline shows its causes, and opens on the bench, which flips it to its label', async ({ page }) => {
  const wrong = (await (await fetch(`${server.url}/api/headlines?correct=false&sort=confidence&limit=1`)).json()) as HeadlinesPage
  const headline = wrong.headlines[0]
  expect(headline?.effects).toBeTruthy()
  await page.goto(`${server.url}/?correct=false&sort=confidence&open=0`)
  await expect(row(page, 0).getByRole('figure', { name: /Waterfall/ })).toBeVisible()
  await page.getByRole('link', { name: 'Edit on the bench' }).click()
  const bench = page.getByRole('dialog', { name: 'Bench' })
  await expect(bench.getByRole('textbox', { name: 'Headline' })).toHaveValue(headline?.text ?? '')
  await bench.getByRole('button', { name: /^Flip it to the label/ }).click()
  await expect(bench.getByText(/\.$/).filter({ hasText: /changes the prediction to|No set/ })).toBeVisible({ timeout: 15_000 })
  await bench.getByRole('button', { name: 'Close' }).click()
  await expect(bench).toBeHidden()
})

test('chips switch to signed effects', async ({ page }) => {
  await page.goto(server.url)
  await page.getByRole('checkbox', { name: 'Show effect on prediction' }).check()
  await expect(page).toHaveURL(/effects=true/)
  await expect(row(page, 0).locator('a.chip').first()).toContainText(/^[+−]?\d\.\d\d/)
})

test('the bench has no accessibility fault', async ({ page }) => {
  await page.goto(at(writeBench({ text: TEXT, from: TEXT, edits: [{ feature: 7, operation: 'add', value: 5 }] })))
  await expect(page.getByRole('figure', { name: /Waterfall/ })).toBeVisible()
  const { violations } = await new AxeBuilder({ page }).include('dialog').analyze()
  expect(violations.map(({ id, nodes }) => [id, nodes[0]?.html])).toEqual([])
})

test('without --live the bench says how to start the server with it', async ({ page }) => {
  await page.goto(`/?${new URLSearchParams({ bench: benchOf(TEXT) })}`)
  await expect(page.getByRole('dialog', { name: 'Bench' })).toContainText('--live')
})
