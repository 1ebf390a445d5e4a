/** Headlines, classes, metrics and human labels that would harm a careless page, in every view. */

import { request, type Page } from '@playwright/test'
import { benchOf } from '../src/lib/bench'
import { Api, expect, freePort, hostileRuns, loaded, row, Server, test } from './api'
import { allViews, type View } from './views'

let server: Server
let remove = () => {}

test.beforeEach(({ page }) => watchWidth(page))
test.beforeAll(async () => {
  const runs = hostileRuns()
  remove = runs.remove
  server = await Server.api(runs.folder, await freePort()).start()
})
test.afterAll(async () => {
  await server.stop()
  remove()
})

/** Notes by how many pixels the page was wider than the window at any moment, also before it was complete. */
async function watchWidth(page: Page): Promise<void> {
  await page.addInitScript(() => {
    const widest = { sideways: 0 }
    Object.assign(window, { widest })
    new MutationObserver(() => {
      const { scrollWidth, clientWidth } = document.documentElement
      widest.sideways = Math.max(widest.sideways, scrollWidth - clientWidth)
    }).observe(document, { childList: true, subtree: true, attributes: true })
  })
}

/** No word of a run became an element or ran, no sign turns the text around it, and the page is as wide as the window. */
async function harmless(page: Page, name: string): Promise<void> {
  const found = await page.evaluate(() => {
    return {
      hacked: 'hacked' in window,
      elements: document.querySelectorAll('#root :is(script, img, iframe, object), [onerror], [onload], [onfocus], a[href^="javascript:"]').length,
      turned: /[\u0000\u0007\u001b\u0085\u200b\u202a-\u202e\u2066-\u2069]/.exec(document.body.innerText)?.[0] ?? '',
      sideways: (window as unknown as { widest: { sideways: number } }).widest.sideways, // px
    }
  })
  expect.soft(found, name).toEqual({ hacked: false, elements: 0, turned: '', sideways: 0 })
}

/** Every word of the run in every place that shows it: metrics, features, and the columns of its table. */
async function narrowViews(api: Api): Promise<View[]> {
  const { metrics, columns } = await api.run()
  const { features } = await api.get('/api/features', { limit: 3 })
  const { headlines } = await api.get('/api/headlines', { limit: 1 })
  const of = (path: string): View => ({ name: path.slice(0, 60), path, ready: loaded })
  const views = [of('/?open=4&effects=1'), of('/?label=0'), of('/?tokens=pieces&open=0'), of('/features?labelled=1')]
  views.push(...metrics.map((metric) => of(`/features?${new URLSearchParams({ metric: metric.name })}`)))
  for (const { feature } of features) {
    views.push({ name: `card ${feature}`, path: `/features/${feature}/card`, ready: (page) => expect(page.getByRole('heading', { name: 'Made from' })).toBeVisible() })
    views.push({ name: `feature ${feature}`, path: `/features/${feature}`, ready: (page) => expect(page.locator('[data-example]').first()).toBeVisible() })
  }
  // Names and values of the table's columns: in a row, in an open row, as a slice, and in the menus.
  const shown = new URLSearchParams(columns.slice(0, 6).map((name) => ['show', name]))
  views.push(of(`/?${shown}`), of(`/?open=1&${shown}`))
  for (const name of columns) {
    const value = String(headlines[0]?.columns[name])
    views.push(of(`/?${new URLSearchParams({ where: `${name}:${value}`, sort: `column:${name}` })}`))
  }
  const bench = new URLSearchParams({ bench: benchOf(headlines[0]?.text.slice(0, 1_000) ?? '') })
  views.push({ name: 'bench', path: `/bench?${bench}`, ready: (page) => expect(page.getByRole('region', { name: 'Bench' })).toContainText('--live') })
  return views
}

for (const width of [1440, 390]) {
  test(`hostile words are text in every view: ${width} px`, async ({ page }) => {
    test.setTimeout(240_000)
    await page.setViewportSize({ width, height: 900 })
    const context = await request.newContext({ baseURL: server.url })
    const api = new Api(context)
    const views = await allViews(api)
    if (width === 390) views.push(...(await narrowViews(api))) // what is not too wide here has room in a wide window
    for (const { name, path, ready } of views) {
      await page.goto(server.url + path)
      await ready(page)
      await harmless(page, name)
    }
    await context.dispose()
  })
}

test('a headline keeps its length, unit for unit, where invisible signs are replaced', async ({ page }) => {
  const { headlines } = (await (await fetch(`${server.url}/api/headlines?limit=1`)).json()) as { headlines: { text: string }[] }
  await page.goto(`${server.url}/?open=0`)
  await loaded(page)
  const shown = (await row(page, 0).locator('bdi').first().textContent()) ?? ''
  expect(shown.length).toBe(headlines[0]?.text.length)
})

test('a page without its fonts is as wide as the window', async ({ page }) => {
  await page.setViewportSize({ width: 390, height: 900 })
  await page.route('**/*.woff2', (route) => route.abort())
  for (const path of ['/', '/features']) {
    await page.goto(server.url + path)
    await loaded(page)
    await harmless(page, path)
  }
})

test('a word in the list of features keeps to one line', async ({ page }) => {
  await page.goto(`${server.url}/features`)
  await loaded(page)
  const heights = await page.locator('[data-index] bdi').evaluateAll((all) => all.map((word) => word.getBoundingClientRect().height))
  expect(heights.length).toBeGreaterThan(10)
  expect(Math.max(...heights)).toBeLessThan(40) // px
})

test('hovering, searching and choosing show the same words as text', async ({ page }) => {
  await page.goto(`${server.url}/?open=4`)
  await loaded(page)
  for (const chip of (await page.locator('.chip').all()).slice(0, 8)) {
    await chip.hover()
    await harmless(page, 'tooltip')
  }
  for (const word of ['<img src=x onerror="window.hacked=1">', '${window.hacked=1}', '\u202eevil', 'x'.repeat(300)]) {
    await page.goto(`${server.url}/?${new URLSearchParams({ q: word })}`)
    await expect(page.getByRole('status').first()).toContainText('headline')
    await harmless(page, `search for ${word}`)
    await page.goto(`${server.url}/features?${new URLSearchParams({ q: word, token: word.slice(0, 60), metric: word, run: word })}`)
    await expect(page.getByText(/There is no run/)).toBeVisible()
    await harmless(page, `address with ${word}`)
  }
})
