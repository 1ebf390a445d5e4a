import { count, expect, loaded, row, test } from './api'

test('a copied link names the run', async ({ page, context, api }) => {
  await context.grantPermissions(['clipboard-read', 'clipboard-write'])
  const { run_id } = await api.run()
  await page.goto('/features?q=1')
  await loaded(page)
  await page.getByRole('button', { name: 'Copy a link to this view' }).click()
  await expect(page.getByRole('button', { name: 'Link copied' })).toBeVisible()
  const link = new URL(await page.evaluate(() => navigator.clipboard.readText()))
  expect(link.pathname + link.search).toBe(`/features?run=${run_id}&q=1`)
})

test('each tab keeps its state while the other is shown', async ({ page, api }) => {
  const info = await api.topFeature()
  const metric = info.metrics.at(-1)?.name ?? ''
  await page.goto(`/features/${info.feature}?metric=${metric}`)
  await page.getByRole('link', { name: 'Headlines', exact: true }).click()
  await page.goto('/?correct=true')
  await loaded(page)
  await page.keyboard.press('g')
  await page.keyboard.press('f')
  await expect(page).toHaveURL(/\/features$/)
  await row(page, 1).getByRole('link').click()
  await expect(page).toHaveURL(/\/features\/\d+/)
  const feature = page.url()
  await page.keyboard.press('g')
  await page.keyboard.press('h')
  await expect(page).toHaveURL(/\/\?correct=true$/)
  await page.getByRole('link', { name: 'Features', exact: true }).click()
  await expect(page).toHaveURL(feature)
})

test('quality, contrast, comparison and labels are found without the menu of runs', async ({ page }) => {
  for (const width of [1440, 390]) {
    await page.setViewportSize({ width, height: 900 })
    for (const [name, panel] of [['Quality', 'quality'], ['Contrast', 'contrast'], ['Compare', 'compare'], ['Annotations', 'labels']] as const) {
      await page.goto('/features')
      await loaded(page)
      const link = page.getByRole('navigation', { name: 'Views and figures' }).getByRole('link', { name, exact: true })
      await expect(link).toBeInViewport({ ratio: 1 })
      await link.click()
      await expect(page).toHaveURL(new RegExp(`/features\\?panel=${panel}$`))
      await expect(page.getByRole('dialog')).toBeVisible()
    }
  }
})

test('the run in the address is shown, and the list of runs shows another', async ({ page, api }) => {
  const run = await api.run()
  await page.goto(`/?run=${run.run_id}`)
  await loaded(page)
  await page.getByRole('button', { name: new RegExp(`^${run.run_id}`) }).click()
  const dialog = page.getByRole('dialog')
  await dialog.getByRole('button', { name: 'Quality', exact: true }).click()
  await expect(page).toHaveURL(/panel=quality/)
  await expect(dialog).toContainText(run.classifier.model)
  await expect(dialog).toContainText(run.sae_hash)
  for (const size of Object.keys(run.sae_family)) await expect(dialog.getByRole('rowheader', { name: size, exact: true })).toBeVisible()
  await dialog.getByRole('button', { name: 'Runs', exact: true }).click()
  await dialog.getByRole('searchbox').fill(`no such run`)
  await expect(dialog.getByText('No run matches')).toBeVisible()
  await dialog.getByRole('searchbox').fill(`${run.classifier.model} ${run.sae.size}`)
  await dialog.getByRole('button', { name: new RegExp(`^${run.run_id}`) }).click()
  await expect(dialog).toHaveCount(0)
  await expect(page).toHaveURL(/\/$/) // the address does not name the served run
})

test('a meaningless part of an address is reported in a sentence, and the rest works', async ({ page, api }) => {
  const { total } = await api.get('/api/headlines', { limit: 1 })
  await page.goto('/?label=banana&sort=up&correct=false')
  await expect(page.getByText('“label=banana” in the address is no whole number; it was ignored.')).toBeVisible()
  await expect(page.getByText(/“sort=up” in the address is none of/)).toBeVisible()
  await expect(page).toHaveURL(/banana/)
  await expect(page.getByRole('status').first()).toContainText(` of ${count(total)} headlines`)

  await page.goto('/?label=77')
  await expect(page.getByText('No headline matches all of these filters.')).toBeVisible()
  await page.getByRole('button', { name: `Show all ${count(total)}` }).click()
  await loaded(page)

  await page.goto('/?open=888888')
  await expect(page.getByText(/This list has no row 888,889/)).toBeVisible()

  await page.goto('/somewhere/else')
  await expect(page.getByText('There is no page /somewhere/else.')).toBeVisible()
  await page.getByRole('button', { name: 'Show the headlines' }).click()
  await loaded(page)
})

test('a missing feature, metric or run is reported in the API’s own words', async ({ page, api }) => {
  const { n_features, run_id } = await api.get('/api/features', { limit: 1 })
  await page.goto('/features/99999999')
  await expect(page.getByText(`There is no feature 99999999: ${run_id} has features 0 to ${n_features - 1}.`)).toBeVisible()
  await expect(page.getByRole('complementary').getByRole('link').first()).toBeVisible() // the list still works

  await page.goto('/features?metric=beauty')
  await expect(page.getByText(`${run_id} has no metric 'beauty'`)).toBeVisible()
  await page.getByRole('button', { name: /^Metric/ }).click()
  await page.getByRole('menuitemradio').first().click()
  await loaded(page)

  await page.goto('/?run=run-999')
  await expect(page.getByText(/There is no run/)).toBeVisible()
  await page.getByRole('button', { name: 'Choose another run' }).click()
  await page.getByRole('dialog').getByRole('button', { name: new RegExp(`^${run_id}`) }).click()
  await loaded(page)
})
