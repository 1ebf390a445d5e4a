/** The bench of a site, without a server: it answers as a server with --live does. */

import { execFileSync } from 'node:child_process'
import { cpSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import AxeBuilder from '@axe-core/playwright'
import type { Flip, Intervention, Probe, Run } from '../src/interpAPI'
import { benchOf } from '../src/lib/bench'
import { expect, freePort, Server, test } from './api'
import { StaticHost } from './sharing'

const ANALYSIS = resolve(process.env.E2E_ANALYSIS_DIR ?? '../analysis_data')
const TEXTS = [
  'Shares surge after profit beats forecasts',
  'Merriweather Aerospace cuts debt by $1.2B',
  '$AAPL falls 3.5% as www.example.com/x reports weak sales — Ångström Café',
]
const PROGRAM = `
import sys
from pathlib import Path
from sae_pipeline.__main__ import main
from viz_analysis.web import viewer_files
viewer_files.VIEWER_DIR = Path(sys.argv[3])
assert main(["export", "--root", sys.argv[1], "--to", "site", "--bench", "--out", sys.argv[2]]) == 0
`

test.skip(process.env.REACH !== 'full', 'takes a minute: make check-reach')
test.describe.configure({ mode: 'serial' })

let folder: string
let server: Server
let host: StaticHost
let site: string

test.beforeAll(async () => {
  test.setTimeout(240_000)
  folder = mkdtempSync(join(tmpdir(), 'shared-bench-'))
  cpSync(resolve(ANALYSIS, '..', 'finbert_sae'), join(folder, 'finbert_sae'), { recursive: true, filter: (path) => !path.includes('activations') })
  cpSync(ANALYSIS, join(folder, 'analysis_data'), { recursive: true })
  const python = resolve('..', '.venv', 'bin', 'python')
  execFileSync(python, ['-c', PROGRAM, folder, join(folder, 'site'), resolve('..', 'build', 'viewer-e2e')], { cwd: resolve('..') })
  server = await Server.api(join(folder, 'analysis_data'), await freePort(), '--live').start()
  host = new StaticHost(join(folder, 'site'), '/some/prefix', true)
  site = await host.start()
})
test.afterAll(async () => {
  host.stop()
  await server.stop()
  rmSync(folder, { recursive: true, force: true })
})

/** A figure that `make check-reach` prints. */
function note(type: string, figure: number): void {
  test.info().annotations.push({ type, description: String(figure) })
}

test('a typed headline, an edit and a flip, asked of no server', async ({ page }) => {
  const asked: string[] = []
  page.on('request', (request) => /^(data|blob):/.test(request.url()) || asked.push(request.url()))
  for (const width of [1440, 390]) {
    await page.setViewportSize({ width, height: 900 })
    await page.goto('about:blank')
    const started = Date.now()
    await page.goto(`${site}#/bench?${new URLSearchParams({ bench: benchOf('') })}`)
    await page.getByRole('textbox', { name: 'Headline' }).fill(TEXTS[0] ?? '')
    const bench = page.getByRole('region', { name: 'Bench' })
    await expect(bench.getByRole('figure', { name: /Waterfall/ })).toBeVisible({ timeout: 60_000 })
    if (width === 1440) note('seconds to the first answer of a bench without a server', (Date.now() - started) / 1000)
    await bench.getByRole('slider').first().fill('0')
    await expect(bench.getByRole('region', { name: 'After: features edited' })).toContainText('%')
    await bench.getByRole('button', { name: 'Flip the prediction' }).click()
    await expect(bench.getByText(/^Ablating \d+ features? changes the prediction|^No set of up to/)).toBeVisible()
    expect(await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)).toBeLessThanOrEqual(0)
    expect((await new AxeBuilder({ page }).analyze()).violations).toEqual([])
  }
  expect(asked.filter((address) => !address.startsWith(site))).toEqual([])
})

test('a model that is cut off or missing is one sentence, and the run stays readable', async ({ page }) => {
  for (const [file, answer, sentence] of [
    ['tail.onnx', { status: 200, body: 'cut' }, /The model of this page cannot be started: copy the whole folder again/],
    ['decoder.bin', { status: 200, body: 'even' }, /decoder\.bin is cut off/],
    ['decoder.bin', { status: 404 }, /upload the whole folder again/],
    ['ort.js', { status: 404 }, /The host of this page does not send its model/],
  ] as const) {
    await page.route(`**/${file}`, (route) => route.fulfill(answer))
    await page.goto('about:blank')
    await page.goto(`${site}#/bench?${new URLSearchParams({ bench: benchOf(TEXTS[0] ?? '') })}`)
    await expect(page.getByText(sentence)).toBeVisible({ timeout: 60_000 })
    await page.unroute(`**/${file}`)
  }
  await page.getByRole('link', { name: 'Headlines', exact: true }).click()
  await expect(page.getByRole('status').filter({ hasText: '186 headlines' })).toBeVisible()
})

test('its answers are those of the server', async ({ page }) => {
  await page.goto(`${site}#/features`)
  const model = await page.locator('meta[name="model"]').getAttribute('content')
  const chunks = readdirSync(join(folder, 'site', 'assets')).filter((name) => name.endsWith('.js'))
  const facts = (await (await fetch(`${server.url}/api/run`)).json()) as Run
  /** The answer of the site's own code, from the chunk that has it. */
  const ours = <T>(method: string, question: object) =>
    page.evaluate(
      async ([method, question, chunks, model, facts]) => {
        interface Bench {
          open: (place: string, facts: object) => Promise<Record<string, (question: object) => Promise<unknown>>>
        }
        const held = window as { bench?: ReturnType<Bench['open']> }
        for (const name of held.bench ? [] : chunks) {
          const found = (await import(new URL(`assets/${name}`, document.baseURI).href)) as { Bench?: Bench }
          if (found.Bench) held.bench = found.Bench.open(model, facts)
        }
        return (await held.bench)?.[method]?.(question)
      },
      [method, question, chunks.filter((name) => name.startsWith('answers')), model ?? '', facts] as const,
    ) as Promise<T>
  const theirs = async <T>(path: string, question: object) => {
    const answer = await fetch(server.url + path, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(question) })
    return (await answer.json()) as T
  }
  const largest = (one: readonly number[], other: readonly number[]) => Math.max(0, ...one.map((value, i) => Math.abs(value - (other[i] ?? NaN))))
  let most = 0
  for (const text of TEXTS) {
    const question = { text, steps: 4, ablate: 12, top: 12 }
    const [mine, known] = [await ours<Probe>('probe', question), await theirs<Probe>('/api/probe', question)]
    for (const key of ['tokens', 'starts', 'ends', 'words', 'prediction', 'labels', 'estimate'] as const) expect(mine[key], key).toEqual(known[key])
    most = Math.max(most, largest(mine.logits, known.logits), largest(mine.base ?? [], known.base ?? []), largest(mine.spliced?.logits ?? [], known.spliced?.logits ?? []))
    expect(Math.abs(mine.n_active - known.n_active)).toBeLessThanOrEqual(Math.ceil(known.n_active / 50))
    for (const feature of known.features.slice(0, 6)) {
      const same = mine.features.find((one) => one.feature === feature.feature)
      most = Math.max(most, largest(same?.effects ?? [NaN], feature.effects), largest(same?.ablation?.logits ?? [NaN], feature.ablation?.logits ?? []))
    }
    const [first, second] = known.features
    const edits = [
      { feature: first?.feature, operation: 'ablate', value: 0 },
      { feature: second?.feature, operation: 'scale', value: 2.5 },
      { feature: 7, operation: 'add', value: 4 },
      { feature: 9, operation: 'clamp', value: 12 },
    ]
    for (const separately of [false, true]) {
      const edit = { text, edits, separately }
      const [own, other] = [await ours<Intervention>('intervene', edit), await theirs<Intervention>('/api/intervene', edit)]
      expect(own.edited.map(({ feature, positions }) => [feature, positions])).toEqual(other.edited.map(({ feature, positions }) => [feature, positions]))
      other.after.forEach((after, i) => (most = Math.max(most, largest(own.after[i]?.logits ?? [NaN], after.logits))))
    }
    const [flipped, flip] = [await ours<Flip>('flip', { text }), await theirs<Flip>('/api/flip', { text })]
    expect(flipped.steps.map(({ feature }) => feature)).toEqual(flip.steps.map(({ feature }) => feature))
    const plain = ({ message }: Flip) => message.replaceAll(/\d+(\.\d+)?/g, 'n') // margins differ in their last digits
    expect(plain(flipped)).toBe(plain(flip))
  }
  note('largest difference of logits between a bench without a server and the server', most)
  expect(most).toBeLessThan(0.02)
})
