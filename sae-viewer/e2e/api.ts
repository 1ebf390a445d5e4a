/** The API, of which tests ask what to expect, and servers that a test starts and stops itself. */

import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { expect, test as base, type APIRequestContext, type Locator, type Page } from '@playwright/test'
import type {
  FeatureInfo,
  FeaturesPage,
  Headline,
  HeadlinesPage,
  LabelsAnswer,
  MapAnswer,
  RunMetadata,
  RunSummary,
  SimilarHeadline,
} from '../src/interpAPI'

const ROOT = resolve('..')
export const PYTHON = join(ROOT, '.venv', 'bin', 'python')
const BUILD = join(ROOT, 'build', 'viewer-e2e')

interface Answers {
  '/api/headlines': HeadlinesPage
  '/api/features': FeaturesPage
  '/api/feature_info': FeatureInfo
  '/api/map': MapAnswer
  '/api/run': RunMetadata
  '/api/similar_headlines': { similar: SimilarHeadline[] }
  '/api/runs': { runs: RunSummary[] }
  '/api/labels': LabelsAnswer
}

export class Api {
  constructor(private readonly request: APIRequestContext) {}

  async get<P extends keyof Answers>(path: P, params: Record<string, string | number | boolean> = {}): Promise<Answers[P]> {
    const response = await this.request.get(path, { params })
    expect(response.ok(), `${path} ${JSON.stringify(params)}`).toBe(true)
    return (await response.json()) as Answers[P]
  }

  run = () => this.get('/api/run')
  runs = () => this.get('/api/runs')

  /** The first headline of the run. */
  async firstHeadline(): Promise<Headline> {
    const { headlines } = await this.get('/api/headlines', { limit: 1 })
    return headlines[0] as Headline
  }

  /** A feature with saved examples: the first of the default metric. */
  async topFeature(): Promise<FeatureInfo> {
    const { features } = await this.get('/api/features', { limit: 1 })
    return this.get('/api/feature_info', { id: features[0]?.feature ?? -1 })
  }

  /** Features that fire but have no saved examples. */
  async withoutExamples() {
    const { total } = await this.get('/api/features', { limit: 1 })
    for (let offset = 0; offset < total; offset += 500) {
      const { features } = await this.get('/api/features', { limit: 500, offset })
      const found = features.filter(({ has_examples, n_headlines }) => !has_examples && n_headlines > 0)
      if (found.length > 0) return found
    }
    return []
  }
}

/** A test with `api`, which answers for the served run. It fails when the page throws, asks or breaks its policy. */
export const test = base.extend<{ api: Api; quietPage: undefined }>({
  api: async ({ request }, use) => use(new Api(request)),
  quietPage: [
    async ({ page }, use) => {
      const errors: string[] = []
      page.on('pageerror', (error) => errors.push(error.message))
      page.on('console', (message) => /content security policy/i.test(message.text()) && errors.push(message.text()))
      page.on('dialog', (dialog) => {
        errors.push(`dialog: ${dialog.message()}`)
        void dialog.dismiss()
      })
      await use(undefined)
      expect(errors).toEqual([])
    },
    { auto: true },
  ],
})

export { expect }
export { freePort } from './ports'

/** All headlines in the order of the run, whatever the opening view is. */
export const IN_ORDER = '/?sort=position'

/** 2377 → "2,377". */
export const count = (n: number) => n.toLocaleString('en-US')

/** The text in which a list states its length. */
export const listed = (total: number, all: number, noun: string) =>
  total === all ? `${count(all)} ${noun}s` : `${count(total)} of ${count(all)} ${noun}s`

/** A row of the list, 0-based. */
export const row = (page: Page, index: number): Locator => page.locator(`[data-index="${index}"]`)

/** The words of a headline with the highest activation and the deepest colour; several where they are equal as written. */
export async function strongest(shown: Locator): Promise<string[]> {
  const lit = await shown.locator('mark').evaluateAll((marks) =>
    marks.map((mark) => ({ word: mark.textContent, activation: Number(mark.dataset['activation']), heat: mark.dataset['heat'] })),
  )
  const most = Math.max(...lit.map(({ activation }) => activation))
  return lit.filter(({ activation, heat }) => activation === most && heat === '8').map(({ word }) => word)
}

/** Waits until the list of the page has its first row. */
export async function loaded(page: Page): Promise<void> {
  await expect(row(page, 0).locator('article, a').first()).toBeVisible()
}

export class Server {
  private process: ChildProcess | undefined
  readonly url: string

  constructor(
    private readonly command: string[],
    readonly port: number,
    private readonly probe: string,
    private readonly environment: Record<string, string> = {},
  ) {
    this.url = `http://127.0.0.1:${port}`
  }

  /** The API on `analysisDir`, which also serves the built viewer. */
  static api(analysisDir: string, port: number, ...flags: string[]): Server {
    const program = join(ROOT, 'viz_analysis', 'feature_probe_server.py')
    const options = ['--analysis-dir', analysisDir, '--port', String(port), '--viewer-dir', BUILD, ...flags]
    return new Server([PYTHON, program, ...options], port, '/api/health')
  }

  /** The viewer as `npm run preview` serves it, in front of an API at `apiUrl`. */
  static viewer(apiUrl: string, port: number): Server {
    const vite = resolve('node_modules', 'vite', 'bin', 'vite.js')
    return new Server(['node', vite, 'preview', '--outDir', BUILD, '--port', String(port)], port, '/', { API_URL: apiUrl })
  }

  /** The same server, known to run when it answers at `probe`. */
  probedAt(probe: string): Server {
    return new Server(this.command, this.port, probe, this.environment)
  }

  async start(): Promise<this> {
    const [program = '', ...options] = this.command
    this.process = spawn(program, options, { env: { ...process.env, ...this.environment }, stdio: 'ignore' })
    await expect
      .poll(() => fetch(this.url + this.probe).then((answer) => answer.ok).catch(() => false), { timeout: 120_000 })
      .toBe(true)
    return this
  }

  async stop(): Promise<void> {
    const running = this.process
    if (!running || running.exitCode !== null) return
    const gone = new Promise((done) => running.once('exit', done))
    running.kill('SIGTERM')
    await gone
  }
}

/** A folder with two runs whose every word would harm a careless page. `remove` deletes it. */
export function hostileRuns(): { folder: string; remove: () => void } {
  const folder = mkdtempSync(join(tmpdir(), 'viewer-e2e-'))
  execFileSync(PYTHON, ['-m', 'tests.support.hostile_runs', folder], { cwd: ROOT })
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) }
}

interface MadeUp {
  words?: string[]
  labels?: string[]
  n_headlines?: number
  /** Cells of other columns, repeated until every headline has one. */
  columns?: Record<string, (string | number | null)[]>
  labelled?: boolean
  positions?: 'words' | 'all' | 'cls' | 'mean'
}

/** A folder with made-up runs, each with headlines from its own words. `remove` deletes it. */
export function madeUpRuns(...runs: MadeUp[]): { folder: string; remove: () => void } {
  const folder = mkdtempSync(join(tmpdir(), 'viewer-e2e-'))
  const program = `
import json, sys
from pathlib import Path
import tests.support.run_factory as factory
usual = factory.WORDS
for run in json.loads(sys.argv[2]):
    factory.WORDS = run.pop("words", usual)
    factory.write_run(Path(sys.argv[1]), **{"n_headlines": 25, "d_sae": 64, "top": 10, **run})
`
  execFileSync(PYTHON, ['-c', program, folder, JSON.stringify(runs)], { cwd: ROOT })
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) }
}
