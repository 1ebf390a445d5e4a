/** Measures the speed of the production build with a large run, and writes `build/bench-viewer.json`. */

import { mkdirSync, writeFileSync } from 'node:fs'
import AxeBuilder from '@axe-core/playwright'
import type { Page } from '@playwright/test'
import { expect, test } from '../e2e/api'
import { allViews } from '../e2e/views'

const LOADS = 5
const SCROLL_MS = 4_000
/** Pixels scrolled per frame: 3,600 a second, as with a fast wheel. */
const SCROLL_STEP = 60
/** The browser reports no interaction shorter than this, in ms, so shorter ones count as this. */
const FLOOR_MS = 16

const median = (values: number[]) => quantile(values, 0.5)
function quantile(values: number[], q: number): number {
  const sorted = values.toSorted((one, other) => one - other)
  return sorted[Math.min(sorted.length - 1, Math.ceil(q * sorted.length) - 1)] ?? Number.NaN
}

declare global {
  interface Window {
    seenAt: number
    interactions: Map<number, number>
  }
}

/** Records when the first headline is painted, and how long each interaction takes until its next paint. */
function watch(): void {
  window.interactions = new Map()
  new MutationObserver((_, observer) => {
    if (!document.querySelector('[data-index="0"] article')) return
    observer.disconnect()
    requestAnimationFrame(() => setTimeout(() => (window.seenAt = performance.now())))
  }).observe(document, { childList: true, subtree: true })
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries() as (PerformanceEntry & { interactionId: number })[]) {
      if (!entry.interactionId) continue
      const longest = Math.max(window.interactions.get(entry.interactionId) ?? 0, entry.duration)
      window.interactions.set(entry.interactionId, longest)
    }
  }).observe({ type: 'event', durationThreshold: 16, buffered: true } as PerformanceObserverInit)
}

const listed = (page: Page) => expect(page.locator('[data-index="0"]').locator('article, a').first()).toBeVisible()

/** Does what a reader does in two minutes, with short pauses, and returns the number of interactions. */
async function session(page: Page): Promise<number> {
  let acts = 0
  const act = async (what: Promise<unknown>) => {
    await what
    acts++
    await page.waitForTimeout(60)
  }
  await page.goto('/')
  await listed(page)
  for (const key of ['j', 'j', 'j', 'k', 'Enter', 'j', 'j']) await act(page.keyboard.press(key))
  for (const name of ['Wrong', 'Correct', 'All']) {
    await act(page.getByRole('group', { name: 'Filter by verdict' }).getByRole('button', { name }).click())
    await listed(page)
  }
  await page.keyboard.press('/')
  for (const letter of 'surge') await act(page.keyboard.press(letter))
  await page.waitForTimeout(600)
  for (let i = 0; i < 5; i++) await act(page.keyboard.press('Backspace'))
  await page.waitForTimeout(600)
  await act(page.getByRole('button', { name: /^Label .*, predicted / }).nth(1).click())
  await listed(page)
  await act(page.locator('a.chip').first().click())
  await expect(page.getByRole('heading', { level: 1 })).toBeVisible()
  for (const key of [']', ']', ']', '[']) {
    await act(page.keyboard.press(key))
    await page.waitForTimeout(200)
  }
  await act(page.getByRole('link', { name: 'Headlines', exact: true }).click())
  await listed(page)
  await act(page.getByRole('button', { name: /^run-/ }).click())
  for (const name of ['Quality', 'Labels', 'Runs']) {
    await act(page.getByRole('dialog').getByRole('button', { name, exact: true }).click())
    await page.waitForTimeout(300)
  }
  await act(page.keyboard.press('Escape'))
  return acts
}

/** The durations of the frames while the list scrolls, in ms. */
async function scroll(page: Page): Promise<number[]> {
  await page.goto('/')
  await listed(page)
  return page.evaluate(
    ([duration, step]) =>
      new Promise<number[]>((done) => {
        const frames: number[] = []
        const start = performance.now()
        let before = start
        const frame = (now: number) => {
          frames.push(now - before)
          before = now
          window.scrollBy(0, step)
          if (now - start < duration) requestAnimationFrame(frame)
          else done(frames.slice(2))
        }
        requestAnimationFrame(frame)
      }),
    [SCROLL_MS, SCROLL_STEP] as const,
  )
}

test('viewer', async ({ browser, page, api, baseURL }) => {
  const { total } = await api.get('/api/headlines', { limit: 1 })
  const seen: number[] = []
  let scripts = 0
  for (let load = 0; load < LOADS; load++) {
    const context = await browser.newContext({ viewport: { width: 1440, height: 900 } })
    const fresh = await context.newPage()
    await fresh.addInitScript(watch)
    const sizes: Promise<number>[] = []
    fresh.on('requestfinished', (request) => {
      if (request.resourceType() === 'script') sizes.push(request.sizes().then(({ responseBodySize }) => responseBodySize))
    })
    await fresh.goto(baseURL ?? '')
    await fresh.waitForFunction(() => window.seenAt > 0)
    seen.push(await fresh.evaluate(() => window.seenAt))
    scripts = (await Promise.all(sizes)).reduce((sum, bytes) => sum + bytes, 0)
    await context.close()
  }

  await page.addInitScript(watch)
  const acts = await session(page)
  await page.waitForTimeout(300)
  const reported = await page.evaluate(() => [...window.interactions.values()])
  const interactions = [...reported, ...Array<number>(Math.max(0, acts - reported.length)).fill(FLOOR_MS)]
  const frames = await scroll(page)

  let violations = 0
  for (const theme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme: theme, reducedMotion: 'reduce' })
    for (const width of [1440, 390]) {
      await page.setViewportSize({ width, height: 900 })
      for (const { path, ready } of await allViews(api)) {
        await page.goto(path)
        await ready(page)
        violations += (await new AxeBuilder({ page }).analyze()).violations.length
      }
    }
  }
  mkdirSync('../build', { recursive: true })
  const result = {
    n_headlines: total,
    first_load_js_gzip_kb: Number((scripts / 1000).toFixed(1)),
    first_headline_ms: Math.round(median(seen)),
    interaction_p95_ms: Math.round(quantile(interactions, 0.95)),
    n_interactions: interactions.length,
    scroll_fps: Number((1000 / median(frames)).toFixed(1)),
    axe_violations: violations,
  }
  writeFileSync('../build/bench-viewer.json', `${JSON.stringify(result)}\n`)
})
