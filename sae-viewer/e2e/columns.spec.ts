/** Made-up runs with other columns: one with labels, one without. */

import AxeBuilder from '@axe-core/playwright'
import { request } from '@playwright/test'
import { Api, expect, freePort, listed, loaded, madeUpRuns, row, Server, test } from './api'

const TICKERS = ['AAPL', 'MSFT', null, 'GOOG', 'AMZN', 'TSLA', 'NVDA', 'META']
const DATES = ['2024-01-03', '2024-02-11', '2024-03-19', '2024-04-27', '2024-05-05']
const WITH_LABELS = 'run-001'
const WITHOUT = 'run-002'

let server: Server
let remove = () => {}

test.beforeAll(async () => {
  const labels = ['hawkish', 'dovish']
  const runs = madeUpRuns(
    { n_headlines: 80, columns: { ticker: TICKERS, date: DATES } },
    { n_headlines: 40, labels, labelled: false, columns: { id: Array.from({ length: 40 }, (_, i) => `id-${i}`) } },
  )
  remove = runs.remove
  server = await Server.api(runs.folder, await freePort()).start()
})
test.afterAll(async () => {
  await server.stop()
  remove()
})

test('a value and a range make a slice, with its accuracy beside that of all; Back undoes them', async ({ page }) => {
  const context = await request.newContext({ baseURL: server.url })
  const api = new Api(context)
  const right = (await api.get('/api/headlines', { run: WITH_LABELS, where: 'ticker:GOOG', correct: true, limit: 1 })).total
  const { total, n_headlines } = await api.get('/api/headlines', { run: WITH_LABELS, where: 'ticker:GOOG', limit: 1 })
  await context.dispose()
  await page.goto(`${server.url}/?run=${WITH_LABELS}`)
  const status = page.getByRole('status').first()
  await page.getByRole('checkbox', { name: 'GOOG' }).click()
  await expect(page).toHaveURL(/where=ticker%3AGOOG/)
  await expect(status).toHaveText(listed(total, n_headlines, 'headline'))
  await expect(page.getByLabel('The slice')).toContainText(`(${right} of ${total})`)

  await page.getByRole('button', { name: /^Column ticker/ }).click()
  await page.getByRole('menuitemradio', { name: 'date' }).click()
  await page.getByRole('textbox', { name: 'date, from' }).fill('2024-03')
  await expect(page).toHaveURL(/where=date%3A2024-03\.\./)
  const kept = Array.from({ length: n_headlines }, (_, i) => [TICKERS[i % 8], DATES[i % 5]] as const)
  const both = kept.filter(([ticker, date]) => ticker === 'GOOG' && (date ?? '') >= '2024-03').length
  await expect(status).toHaveText(listed(both, n_headlines, 'headline'))
  await page.goBack()
  await expect(status).toHaveText(listed(total, n_headlines, 'headline'))
  await page.getByRole('button', { name: 'Remove the filter ticker: GOOG' }).click()
  await expect(status).toHaveText(listed(n_headlines, n_headlines, 'headline'))
})

test('columns are shown in rows on request, all in the open headline, and sort the list', async ({ page }) => {
  await page.goto(`${server.url}/?run=${WITH_LABELS}`)
  await loaded(page)
  await expect(page.getByLabel('Columns of the table')).toHaveCount(0)
  await page.getByRole('button', { name: 'Columns' }).click()
  await page.getByRole('menuitemcheckbox', { name: 'date' }).click()
  await page.keyboard.press('Escape')
  await expect(page).toHaveURL(/show=date/)
  await page.getByRole('button', { name: /^Sort/ }).click()
  await page.getByRole('menuitemradio', { name: 'date, highest first' }).click()
  await expect(page).toHaveURL(/sort=column%3Adate&order=desc/)
  await expect(row(page, 0).getByLabel('Columns of the table')).toHaveText('date2024-05-05')
  await row(page, 0).getByRole('button', { name: /^Show all/ }).click()
  await expect(row(page, 0).getByLabel('Columns of the table').locator('dt')).toHaveText(['ticker', 'date'])
  const { violations } = await new AxeBuilder({ page }).analyze()
  expect(violations.map(({ id, nodes }) => `${id}: ${nodes[0]?.html.slice(0, 160)}`)).toEqual([])
})

test('the features of a slice are ordered by their rates, which say what they rest on', async ({ page }) => {
  await page.goto(`${server.url}/?run=${WITH_LABELS}&where=ticker:`)
  await page.getByRole('link', { name: 'Features of this slice' }).click()
  await loaded(page)
  await expect(page.getByText('Rates compare the slice of 10 headlines with all other headlines.')).toBeVisible()
  await expect(page.getByRole('button', { name: /^Metric/ })).toContainText('Slice difference')
  await page.getByRole('button', { name: 'Remove the filter slice ticker: no value' }).click()
  await expect(page).not.toHaveURL(/slice_difference|where/)
  await expect(page.getByRole('button', { name: /^Metric/ })).toContainText('Mean activation')
})

test('without labels nothing is right or wrong', async ({ page }) => {
  await page.goto(`${server.url}/?run=${WITHOUT}`)
  await loaded(page)
  await expect(page.getByText('The table has no labels: a headline’s class is the classifier’s prediction.')).toBeVisible()
  await expect(page.getByText(/^(Correct|Wrong|label)$/)).toHaveCount(0)
  await page.getByRole('searchbox', { name: 'Search the values of id' }).fill('id-37')
  await page.getByRole('checkbox', { name: 'id-37' }).click()
  await expect(page.getByRole('status').first()).toHaveText('1 of 40 headlines')
  await page.getByRole('button', { name: /^Predicted/ }).click()
  await expect(page.getByRole('menuitemradio')).toHaveText(['any class', 'hawkish', 'dovish'])
  await page.goto(`${server.url}/?run=${WITHOUT}&panel=quality`)
  await expect(page.getByRole('dialog')).toContainText('So it has no scores.')
})
