/** Measures pages and sites of shared runs in a cold browser, and writes `share.json` beside them. */

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Browser } from '@playwright/test'
import { test } from '../e2e/api'
import { StaticHost } from '../e2e/sharing'

const LOADS = 3
const folder = process.env.SHARED ?? ''
/** Names of pages (`….html`) and of folders with sites, in the folder. */
const shared = (process.env.SHARED_NAMES ?? '').split(',')

interface Load {
  /** First contentful paint, in ms. */
  paint: number
  /** When the first headline stands in the page, in ms since the navigation. */
  row: number
}

/** Opens an address in a browser context without a cache. */
async function load(browser: Browser, address: string): Promise<Load> {
  const context = await browser.newContext()
  const page = await context.newPage()
  await page.goto(address)
  await page.locator('[data-index="0"] article').waitFor()
  const found = await page.evaluate(() => ({
    row: performance.now(),
    paint: performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN,
  }))
  await context.close()
  return found
}

const median = (values: number[]) => Math.round(values.sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN)

test('share', async ({ browser }) => {
  const figures: Record<string, Record<string, number>> = {}
  for (const name of shared) {
    const isPage = name.endsWith('.html')
    const host = new StaticHost(join(folder, name), '/prefix', true)
    const address = isPage ? pathToFileURL(join(folder, name)).href : await host.start()
    const loads: Load[] = []
    for (let i = 0; i < LOADS; i++) {
      host.answers.length = 0
      loads.push(await load(browser, address))
    }
    figures[name] = { first_paint_ms: median(loads.map(({ paint }) => paint)), first_row_ms: median(loads.map(({ row }) => row)) }
    if (isPage) continue
    const sum = (fits: (path: string) => boolean) => host.answers.filter(({ path }) => fits(path)).reduce((all, { bytes }) => all + bytes, 0)
    figures[name]['first_page_requests'] = host.answers.length
    figures[name]['first_page_bytes'] = sum(() => true)
    figures[name]['first_page_data_bytes'] = sum((path) => path.includes('/data/'))
    host.stop()
  }
  writeFileSync(join(folder, 'share.json'), JSON.stringify(figures))
})
