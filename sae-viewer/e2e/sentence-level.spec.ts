/** A made-up run with one vector per headline: features fire on headlines as a whole. */

import { expect, freePort, madeUpRuns, Server, test } from './api'

let server: Server
let remove = () => {}

test.beforeAll(async () => {
  const runs = madeUpRuns({ positions: 'mean' }, {})
  remove = runs.remove
  server = await Server.api(runs.folder, await freePort()).start()
})
test.afterAll(async () => {
  await server.stop()
  remove()
})

const WHOLE = 'features fire on the headline as a whole, not on its words'

test('no word is coloured or searched for, and every page says why', async ({ page }) => {
  for (const [run, whole] of [['run-001', true], ['run-002', false]] as const) {
    await page.goto(`${server.url}/features?run=${run}`)
    await expect(page.getByRole('searchbox', { name: /number, name or strongest word/ })).toBeVisible()
    await expect(page.getByRole('searchbox', { name: 'Only features that fire on a word' })).toHaveCount(whole ? 0 : 1)
    await expect(page.getByText(whole ? 'share of headlines (log)' : 'share of tokens (log)')).toBeVisible()
    await page.locator('[data-row]').first().click()
    const article = page.getByRole('article')
    await expect(article.locator('[data-example]').first()).toBeVisible()
    await expect(article.getByText(WHOLE)).toHaveCount(whole ? 1 : 0)
    await expect(article.getByRole('group', { name: 'Words around the strongest word' })).toHaveCount(whole ? 0 : 1)
    if (whole) await expect(article.locator('mark')).toHaveCount(0)
    else await expect(article.locator('mark').first()).toBeVisible()

    await page.goto(`${server.url}/?run=${run}&open=0`)
    const features = page.getByRole('list', { name: 'Strongest features' })
    await expect(features.getByRole('listitem')).toHaveCount(10)
    await expect(page.getByText(WHOLE)).toHaveCount(whole ? 1 : 0)
    if (whole) await expect(page.locator('mark')).toHaveCount(0)
    else await expect(page.locator('mark').first()).toBeVisible()
    if (!whole) continue
    await features.getByRole('link').first().hover()
    await expect(page.getByRole('tooltip').getByText('It fires on the headline as a whole.')).toBeVisible()
    await page.goto(`${server.url}/?run=${run}&panel=quality`)
    await expect(page.getByRole('dialog').getByText(/Counted positions: the mean of a headline’s words, one vector per headline/)).toBeVisible()
  }
})
