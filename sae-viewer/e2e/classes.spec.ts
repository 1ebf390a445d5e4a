/** Made-up runs with 2, 5, 8 and 77 classes. */

import AxeBuilder from '@axe-core/playwright'
import { request, type Page } from '@playwright/test'
import { Api, count, expect, freePort, loaded, madeUpRuns, row, Server, test } from './api'

const SIZES = [2, 5, 8, 77]
const labelsOf = (n: number) => (n === 2 ? ['no', 'yes'] : Array.from({ length: n }, (_, i) => `topic ${i} of ${n}`))

let server: Server
let remove = () => {}

test.beforeAll(async () => {
  const runs = madeUpRuns(...SIZES.map((n) => ({ labels: labelsOf(n), n_headlines: 60 })))
  remove = runs.remove
  server = await Server.api(runs.folder, await freePort()).start()
})
test.afterAll(async () => {
  await server.stop()
  remove()
})

const ready = (path: string) => async (page: Page, run: string) => {
  await page.goto(`${server.url}${path}${path.includes('?') ? '&' : '?'}run=${run}`)
  await expect(page.locator('.skeleton')).toHaveCount(0)
}

for (const width of [1440, 390]) {
  test(`every number of classes has room: ${width} px`, async ({ page }) => {
    await page.setViewportSize({ width, height: 900 })
    await page.emulateMedia({ reducedMotion: 'reduce' })
    for (const [i, n] of SIZES.entries()) {
      for (const path of ['/?open=0', '/features', '/features/3', '/?panel=quality']) {
        await ready(path)(page, `run-00${i + 1}`)
        if (width === 390 && path === '/?open=0') await page.getByRole('button', { name: /^Filter by class/ }).click()
        const sideways = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)
        expect(sideways, `${path} of ${n} classes`).toBeLessThanOrEqual(0)
        // The page of the matrix of 77 classes has 6,000 cells, which the check would take seconds for.
        if (width !== 1440 || (path === '/?panel=quality' ? n !== 8 : n !== 77)) continue
        const { violations } = await new AxeBuilder({ page }).analyze()
        expect(violations.map(({ id, nodes }) => `${id}: ${nodes[0]?.html.slice(0, 160)}`), `${path} of ${n} classes`).toEqual([])
      }
    }
  })
}

test('five and eight classes have a mark each; the matrix filters', async ({ page }) => {
  for (const [i, n] of [[2, 5], [3, 8]] as const) {
    await ready('/')(page, `run-00${i}`)
    const matrix = page.getByRole('group', { name: 'Filter by label and prediction' })
    const marks = await matrix.locator('tbody th path').evaluateAll((paths) => paths.map((path) => `${path.getAttribute('d')} ${getComputedStyle(path).fill}`))
    expect(marks).toHaveLength(n)
    expect(new Set(marks.map((mark) => mark.split(' rgb')[0]?.split(' oklch')[0])).size).toBe(n)
    await matrix.getByRole('button', { name: 'Predicted topic 1', exact: false }).first().click()
    await expect(page).toHaveURL(/prediction=1/)
  }
})

test.describe('77 classes', () => {
  const RUN = 'run-004'

  test('are searched by name, and the address keeps their numbers', async ({ page }) => {
    const context = await request.newContext({ baseURL: server.url })
    const { total, n_headlines } = await new Api(context).get('/api/headlines', { run: RUN, label: 31, limit: 1 })
    await context.dispose()
    await ready('/')(page, RUN)
    await page.getByRole('button', { name: 'Label any class' }).click()
    await page.getByRole('combobox', { name: 'Search: Label' }).fill('31')
    await expect(page.getByRole('option')).toHaveText(['topic 31 of 77'])
    await page.keyboard.press('Enter')
    await expect(page).toHaveURL(/label=31/)
    await expect(page.getByRole('status').first()).toHaveText(`${count(total)} of ${count(n_headlines)} headlines`)
    await page.getByRole('button', { name: 'Remove the filter label topic 31 of 77' }).click()
    await expect(page.getByRole('status').first()).toHaveText(`${count(n_headlines)} headlines`)
  })

  test('have a matrix that scrolls under its headings, with the largest confusions in frames', async ({ page }) => {
    await ready('/')(page, RUN)
    const listed = page.getByRole('region', { name: 'Largest confusions' }).getByRole('button')
    await expect(listed).toHaveCount(5)
    const largest = (await listed.first().getAttribute('aria-label')) ?? ''
    await page.getByRole('button', { name: 'Confusion matrix of 77 classes' }).click()
    const matrix = page.getByRole('group', { name: 'Filter by label and prediction' })
    await expect(matrix.locator('td[data-framed]')).toHaveCount(5)
    const corner = matrix.locator('thead th').first()
    const before = await corner.evaluate((cell) => cell.getBoundingClientRect().y)
    await matrix.evaluate((box) => box.scrollTo(400, 300))
    await expect.poll(() => matrix.evaluate((box) => [box.scrollLeft, box.scrollTop])).toEqual([400, 300])
    expect(Math.abs((await corner.evaluate((cell) => cell.getBoundingClientRect().y)) - before)).toBeLessThan(2) // px
    await matrix.getByRole('button', { name: largest, exact: true }).click()
    await expect(page).toHaveURL(/label=\d+&prediction=\d+/)
    await expect(page.getByRole('dialog')).toHaveCount(0)
    await expect(listed.first()).toHaveAttribute('aria-pressed', 'true')
  })

  test('show the most probable ones of a headline, and all at a click', async ({ page }) => {
    await ready('/?open=0')(page, RUN)
    const shown = row(page, 0).getByRole('group', { name: 'Probabilities' })
    await expect(shown.getByText('%')).toHaveCount(5)
    await shown.getByRole('button', { name: 'All 77 classes' }).click()
    await expect(shown.getByText('%')).toHaveCount(77)
  })

  test('do not drown the other metrics', async ({ page }) => {
    await ready('/features')(page, RUN)
    await page.getByRole('button', { name: /^Metric/ }).click()
    await expect(page.getByRole('option').first()).toContainText('Mean activation')
    await expect(page.getByRole('group', { name: 'AUROC' }).getByRole('option')).toHaveCount(77)
    await page.getByRole('combobox').fill('auroc 12')
    await page.getByRole('option', { name: 'topic 12 of 77' }).click()
    await expect(page).toHaveURL(/metric=auroc_topic\+12\+of\+77/)
    await expect(page.getByRole('button', { name: /^Metric/ })).toContainText('AUROC: topic 12 of 77')
    await loaded(page)

    await ready('/features/3')(page, RUN)
    const classes = page.getByRole('region', { name: 'By class' })
    await expect(classes.locator('tbody tr')).toHaveCount(8)
    await classes.getByRole('button', { name: 'All 77 classes' }).click()
    await expect(classes.locator('tbody tr')).toHaveCount(77)
    const statistics = page.getByRole('region', { name: 'Statistics' })
    await expect(statistics.getByRole('row', { name: 'AUROC topic' })).toHaveCount(3)
  })
})
