/** The bench on a server with the run's own classifier in memory, and the run's causal findings in the list. */

import { execFileSync } from 'node:child_process'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import AxeBuilder from '@axe-core/playwright'
import type { HeadlinesPage, Intervention, Probe } from '../src/interpAPI'
import { benchOf, readBench, writeBench } from '../src/lib/bench'
import { percent } from '../src/lib/format'
import { expect, freePort, row, Server, test } from './api'

const ANALYSIS = resolve(process.env.E2E_ANALYSIS_DIR ?? '../analysis_data')
const PYTHON = resolve('..', '.venv', 'bin', 'python')
const FLAGS = ['--steps=2', '--bootstrap=100', '--agreement-headlines=2', '--curve-headlines=2', '--flip-headlines=4', '--interaction-headlines=10']
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

const at = (bench: string) => `${server.url}/bench?${new URLSearchParams({ bench })}`

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
  const bench = page.getByRole('region', { name: 'Bench' })
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
    const bench = page.getByRole('region', { name: 'Bench' })
    await expect(bench.getByText(/^(Faithful|Unfaithful)/)).toBeVisible()
    await expect(bench.getByRole('region', { name: 'Before' })).toContainText('%')
    expect(await page.evaluate(() => 'hacked' in window)).toBe(false)
    await expect(bench.locator('img, script')).toHaveCount(0)
    expect(await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)).toBeLessThanOrEqual(0)
  }
})

test('a slider changes the probabilities, and a reload restores it from the address', async ({ page }) => {
  await page.goto(at(benchOf(TEXT)))
  const bench = page.getByRole('region', { name: 'Bench' })
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
  const bench = page.getByRole('region', { name: 'Bench' })
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
  await page.getByRole('link', { name: 'Try on the bench' }).click()
  const bench = page.getByRole('region', { name: 'Bench' })
  await expect(bench.getByRole('textbox', { name: 'Headline' })).toHaveValue(headline?.text ?? '')
  await bench.getByRole('button', { name: /^Flip it to the label/ }).click()
  await expect(bench.getByText(/\.$/).filter({ hasText: /changes the prediction to|No set/ })).toBeVisible({ timeout: 15_000 })
  await page.goBack()
  await expect(row(page, 0).getByRole('figure', { name: /Waterfall/ })).toBeVisible()
})

test('the open headline says what its features do together, and why no few of them flip it', async ({ page }) => {
  const wrong = (await (await fetch(`${server.url}/api/headlines?correct=false&sort=confidence&limit=100`)).json()) as HeadlinesPage
  const open = wrong.headlines.findIndex(({ effects }) => effects?.unrepaired)
  const { effects } = wrong.headlines[open] ?? {}
  const { reason, margin, n_needed, clamped } = effects?.unrepaired ?? {}
  await page.goto(`${server.url}/?correct=false&sort=confidence&open=${open}`)
  const shown = row(page, open)
  await expect(shown.getByText(/^Share: integrated gradients, .*agree with ablation by −?\d\.\d\d/)).toBeVisible()
  await expect(shown.getByText(/^Together: with the \d+ listed features ablated at once, the .* logit (loses|gains) \d/)).toBeVisible()
  const held = shown.getByRole('region', { name: /^Why no/ }).last()
  await expect(held).toContainText(reason === 'base' ? `${margin?.toFixed(2)} logits behind` : `${n_needed} must be ablated, if`)
  await expect(held).toContainText(clamped ? /^.*Clamping .* changes it \(/ : 'No clamping of features was found')
  await expect(held.getByRole('listitem')).toHaveCount(clamped && clamped.features.length > 1 ? clamped.features.length : 0)
  await page.goto(`${server.url}/?panel=quality`)
  const table = page.getByRole('region', { name: 'Agreement with ablation' })
  await expect(table.getByRole('row', { name: /^integrated gradients shares in the waterfall −?\d\.\d\d/ })).toBeVisible()
  await expect(page.getByText(/^Ablating a few features repairs \d of \d wrong predictions/)).toBeVisible()
})

test('the first view is why the hardest headlines were predicted as they were; one click shows all in order', async ({ page }) => {
  const hardest = (await (await fetch(`${server.url}/api/headlines?sort=loss&order=desc&limit=8`)).json()) as HeadlinesPage
  const first = hardest.headlines[0]
  await page.goto(server.url)
  const shown = row(page, 0)
  await expect(shown.locator('bdi').first()).toHaveText(first?.text ?? '', { useInnerText: false })
  await expect(shown.getByLabel('Why', { exact: true })).toContainText(hardest.labels[first?.prediction ?? -1] ?? '')
  const chipped = page.locator('[data-index]').filter({ has: page.locator('a.chip') }).first() // where no feature has an effect there are no chips
  await expect(chipped.locator('a.chip').first()).toContainText(/^[+−]?\d\.\d\d/)
  await expect(chipped.getByText(/^others together [+−]?\d/)).toBeVisible()
  // Words for the class are filled, words against it underlined; both name their effect.
  const marks = await page.locator('[data-index] mark[data-effect]').evaluateAll((all) =>
    all.map((mark) => ({ effect: Number(mark.dataset['effect']), filled: getComputedStyle(mark).backgroundColor !== 'rgba(0, 0, 0, 0)', title: mark.getAttribute('title') })),
  )
  expect(marks.length).toBeGreaterThan(0)
  for (const { effect, filled, title } of marks) expect([filled, title]).toEqual([effect > 0, expect.stringContaining('effect on the')])

  const order = page.getByRole('group', { name: 'Order of the headlines' })
  await expect(order.getByRole('button', { name: 'Wrong and unsure first' })).toHaveAttribute('aria-pressed', 'true')
  await order.getByRole('button', { name: 'Order of the run' }).click()
  await expect(page).toHaveURL(/sort=position/)
  const all = (await (await fetch(`${server.url}/api/headlines?limit=1`)).json()) as HeadlinesPage
  await expect(shown.locator('bdi').first()).toHaveText(all.headlines[0]?.text ?? '', { useInnerText: false })
  await page.goBack()
  await expect(shown.locator('bdi').first()).toHaveText(first?.text ?? '', { useInnerText: false })
})

test('chips show effects or activations, as the reader chooses', async ({ page }) => {
  await page.goto(`${server.url}/?sort=position`)
  await page.getByRole('checkbox', { name: 'Show effect on prediction' }).check()
  await expect(page).toHaveURL(/effects=true/)
  await expect(row(page, 0).getByText(/ together [+−]?\d/)).toBeVisible() // small effects have no chip of their own
  await page.getByRole('checkbox', { name: 'Show effect on prediction' }).uncheck()
  await expect(row(page, 0).locator('a.chip').first()).toContainText(/^Feature \d+/)
})

test('the bars show share and ablation alone; small shares are cumulated, and listed at a click', async ({ page }) => {
  const answer = (await (await fetch(`${server.url}/api/headlines?sort=loss&order=desc&limit=8`)).json()) as HeadlinesPage
  const largest = answer.headlines.map((one) => Math.abs(one.effects?.features[0]?.effects[one.prediction] ?? 0))
  const n = largest.indexOf(Math.max(...largest)) // features of the others may have small shares only
  const { effects, prediction = 0 } = answer.headlines[n] ?? {}
  const features = effects?.features ?? []
  await page.goto(`${server.url}/?sort=loss&order=desc&effects=true&open=${n}`)
  const bars = row(page, n).getByRole('figure', { name: /Waterfall/ })
  await expect(bars).toBeVisible()
  /** [share, alone] of a line, as far as it has them. A feature’s word may be a number too. */
  const numbers = async (line: number) =>
    (await bars.getByRole('listitem').nth(line).locator(':scope > span.tabular-nums').allInnerTexts()).flatMap((written) =>
      (written.match(/[+−]?\d+\.\d\d/g) ?? []).map((found) => Number(found.replace('−', '-'))),
    )
  const strongest = features[0]
  expect(await numbers(1)).toEqual([strongest?.effects[prediction], strongest?.ablation_logits[prediction]].map((x) => Number((x ?? 0).toFixed(2)) + 0))
  const lines = await bars.getByRole('listitem').count()
  const shares = await Promise.all(Array.from({ length: lines }, async (_, i) => (await numbers(i))[0] ?? NaN))
  const sum = shares.slice(0, -1).reduce((total, share) => total + share, 0)
  expect(Math.abs(sum - (shares.at(-1) ?? NaN))).toBeLessThan(0.005 * (lines + 1)) // each number is rounded
  const small = bars.getByRole('button', { name: /^Show \d+ small share/ })
  if (lines < features.length + 3) {
    await small.click()
    await expect(bars.getByRole('listitem')).toHaveCount(features.length + 3) // base, others, logit
  } else await expect(small).toHaveCount(0)
})

test('the bench is a tab with three headlines of the run to try', async ({ page }) => {
  for (const width of [1440, 390]) {
    await page.setViewportSize({ width, height: 900 })
    await page.goto(server.url)
    await page.getByRole('navigation', { name: 'Views and figures' }).getByRole('link', { name: 'Bench', exact: true }).click()
    await expect(page).toHaveURL(/\/bench$/)
    const examples = page.getByRole('region', { name: 'Examples to try' }).getByRole('link')
    await expect(examples).toHaveCount(3)
    const text = await examples.first().locator('bdi').first().innerText()
    await examples.first().click()
    await expect(page.getByRole('textbox', { name: 'Headline' })).toHaveValue(text)
    await expect(page.getByRole('region', { name: 'Before' })).toContainText('%')
  }
})

test('a feature’s card is shown, copied, saved as HTML and LaTeX, and printed without the header', async ({ page }) => {
  const answer = (await (await fetch(`${server.url}/api/headlines?sort=loss&order=desc&limit=1`)).json()) as HeadlinesPage
  const feature = answer.headlines[0]?.effects?.features[0]?.feature ?? -1
  await page.goto(`${server.url}/features/${feature}`)
  await page.getByRole('link', { name: 'Card to cite' }).click()
  await expect(page).toHaveURL(new RegExp(`/features/${feature}/card$`))
  const card = page.getByRole('article', { name: `Card of feature ${feature}` })
  for (const part of ['Name', 'Effect on the classes', 'Estimate and true ablation', 'Stability', 'Baselines', 'Examples', 'Where it fails', 'Made from']) {
    await expect(card.getByRole('heading', { name: part, exact: true })).toBeVisible()
  }
  await expect(card).toContainText('python -m sae_pipeline verify')
  await expect(card.getByRole('region', { name: 'Examples' }).locator('mark').first()).toBeVisible()
  const title = await card.getByRole('heading', { level: 1 }).innerText()
  const saved = { HTML: '', LaTeX: '' }
  for (const format of ['HTML', 'LaTeX'] as const) {
    const download = page.waitForEvent('download')
    await page.getByRole('button', { name: `Save as ${format}: this card` }).click()
    saved[format] = readFileSync(await (await download).path(), 'utf8')
  }
  expect(saved.LaTeX).toMatch(/^\\documentclass[^]*\\end\{document\}\n$/)
  await page.emulateMedia({ media: 'print' })
  await expect(page.getByRole('banner')).toBeHidden()
  await expect(page.getByRole('button', { name: 'Print or save as PDF' })).toBeHidden()
  await expect(card).toBeVisible()
  await page.emulateMedia({ media: 'screen' })
  await page.setContent(saved.HTML)
  await expect(page.getByRole('heading', { level: 1 })).toHaveText(title)
  await expect(page.locator('script')).toHaveCount(0)
})

test('the bench has no accessibility fault', async ({ page }) => {
  await page.goto(at(writeBench({ text: TEXT, from: TEXT, edits: [{ feature: 7, operation: 'add', value: 5 }] })))
  await expect(page.getByRole('figure', { name: /Waterfall/ })).toBeVisible()
  const { violations } = await new AxeBuilder({ page }).include('main').analyze()
  expect(violations.map(({ id, nodes }) => [id, nodes[0]?.html])).toEqual([])
})

test('without --live the bench says how to start the server with it', async ({ page }) => {
  await page.goto(`/?${new URLSearchParams({ bench: benchOf(TEXT) })}`) // the address that it had as a dialog
  await expect(page.getByRole('region', { name: 'Bench' })).toContainText('--live')
})
