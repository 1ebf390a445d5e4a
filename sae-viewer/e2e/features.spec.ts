import type { Page } from '@playwright/test'
import { count, expect, listed, loaded, row, test } from './api'

const search = (page: Page) => page.getByRole('searchbox', { name: /^Search features/ })

test('features are listed by the chosen metric, with every metric of the API to choose from', async ({ page, api }) => {
  const run = await api.run()
  await page.goto('/features')
  for (const metric of run.metrics) {
    await page.getByRole('button', { name: /^Metric/ }).click()
    const option = page.getByRole('menuitemradio', { name: metric.label })
    await expect(option).toContainText(metric.description)
    await option.click()
    const { features } = await api.get('/api/features', { metric: metric.name, limit: 3 })
    for (const [place, feature] of features.entries()) {
      await expect(row(page, place).locator('a > span').nth(1)).toHaveText(String(feature.feature))
    }
    await expect(page.getByRole('button', { name: /^Metric/ })).toContainText(metric.label)
  }
  const last = run.metrics.at(-1)
  await expect(page).toHaveURL(new RegExp(`metric=${last?.name}`))
  await expect(page.getByRole('status').first()).toHaveText(`${count(run.totals.n_features)} features`)
})

test('search finds any feature by its number', async ({ page, api }) => {
  const { n_features } = await api.get('/api/features', { limit: 1 })
  await page.goto('/features')
  for (const id of [0, n_features - 1, Math.floor(n_features / 2)]) {
    await search(page).fill(String(id))
    await expect(row(page, 0).locator('a > span').nth(1)).toHaveText(String(id))
  }
  await search(page).press('Enter')
  await expect(page.getByRole('heading', { level: 1 })).toContainText(`Feature ${Math.floor(n_features / 2)}`)

  await page.goto('/features')
  await search(page).fill('999999')
  await expect(page.getByText('There is no feature 999999: this run’s features are')).toBeVisible()
  await expect(page.getByText(`numbered 0 to ${n_features - 1}`)).toBeVisible()
})

test('search finds features by their strongest word', async ({ page, api }) => {
  const listed = await api.get('/api/features', { limit: 50 })
  const wanted = listed.features.map(({ word }) => (word ?? '').toLowerCase()).find((word) => /[a-z]/.test(word)) ?? ''
  const { total, n_features } = await api.get('/api/features', { q: wanted, limit: 1 })
  await page.goto(`/features?q=${encodeURIComponent(wanted)}`)
  await expect(page.getByRole('status').first()).toHaveText(`${count(total)} of ${count(n_features)} features`)
})

test('a name says its rule and its score; a feature without one is called by its word, in quotation marks', async ({ page, api }) => {
  const { features } = await api.get('/api/features', { limit: 500, support: 'solid' })
  const named = features.find(({ found_name }) => found_name !== null)
  const nameless = features.find(({ found_name, word }) => found_name === null && word !== null)
  expect(named && nameless).toBeTruthy()
  await page.goto(`/features?q=${encodeURIComponent(named?.found_name?.text ?? '')}`)
  await expect(row(page, 0)).toContainText(named?.found_name?.text ?? '')
  await page.goto(`/features/${named?.feature}`)
  const part = page.getByRole('region', { name: 'Found name' })
  await expect(page.getByRole('heading', { level: 1 })).toContainText(named?.found_name?.text ?? '')
  await expect(part).toContainText('AUROC on other headlines')
  await expect(part).toContainText(`${named?.found_name?.score.toFixed(2)} (${named?.found_name?.low.toFixed(2)} to ${named?.found_name?.high.toFixed(2)})`)
  await expect(part).toContainText('The rule: ')
  await page.goto(`/features/${nameless?.feature}`)
  await expect(page.getByRole('heading', { level: 1 })).toContainText(`no name, strongest word “${nameless?.word}”`)
  await expect(page.getByRole('region', { name: 'Found name' })).toContainText('No name found.')
})

test('a feature’s page shows its statistics with ranks, its histogram and its examples', async ({ page, api }) => {
  const info = await api.topFeature()
  await page.goto(`/features/${info.feature}`)
  const article = page.getByRole('article', { name: `Feature ${info.feature}` })
  await expect(article.getByRole('heading', { level: 1 })).toContainText(info.found_name?.text ?? info.word ?? '')
  await expect(article).toContainText(`${count(info.n_headlines)} headline`)
  for (const stat of info.stats) {
    const metric = info.metrics.find(({ name }) => name === stat.name)
    const line = article.getByRole('row', { name: metric?.label ?? stat.name }).first()
    await expect(line).toContainText(count(stat.rank))
    await expect(article).toContainText(metric?.description ?? '')
  }
  await expect(article.getByRole('img', { name: /Activations of this feature/ })).toBeVisible()
  const tokens = info.histogram?.counts.reduce((sum, n) => sum + n, 0) ?? 0
  await expect(article).toContainText(`${count(tokens)} token`)

  const top = article.getByRole('region', { name: 'Top examples' })
  const examples = top.locator('ol > li')
  if (info.examples.length > 5) await top.getByRole('button', { name: `Show all ${info.examples.length}` }).click()
  await expect(examples).toHaveCount(info.examples.length)
  for (const [i, example] of info.examples.entries()) {
    const shown = examples.nth(i)
    await expect(shown.locator('bdi').first()).toHaveText(example.prompt.text, { useInnerText: false })
    await expect(shown.locator('mark.underline').first()).toHaveText(example.word)
    await expect(shown.getByText(example.prompt.label === example.prompt.prediction ? 'Correct' : 'Wrong').last()).toBeVisible()
    await expect(shown.locator('dd').nth(0)).toHaveText(info.labels[example.prompt.prediction] ?? '')
    await expect(shown.locator('dd').nth(2)).toHaveText(info.labels[example.prompt.label] ?? '')
  }
  // The token with the highest activation has the deepest colour.
  await expect(examples.first().locator('mark[data-heat="8"]').first()).toBeVisible()
})

test('an example leads to its headline', async ({ page, api }) => {
  const info = await api.topFeature()
  const example = info.examples[1]
  await page.goto(`/features/${info.feature}`)
  await page.locator('[data-example]').nth(1).click()
  await expect(page).toHaveURL(new RegExp(`open=${example?.headline}&lit=${info.feature}$`))
  const opened = row(page, example?.headline ?? -1)
  await expect(opened.locator('bdi').first()).toHaveText(example?.prompt.text ?? '', { useInnerText: false })
  await expect(opened.getByRole('button', { name: 'Show fewer' })).toBeInViewport()
})

test('a feature without saved examples says so and shows its statistics', async ({ page, api }) => {
  const [feature] = await api.withoutExamples()
  expect(feature).toBeDefined()
  const info = await api.get('/api/feature_info', { id: feature?.feature ?? -1 })
  await page.goto(`/features/${info.feature}`)
  await expect(page.getByText(info.message ?? '')).toBeVisible()
  await expect(page.getByRole('region', { name: 'Statistics' }).getByRole('row')).not.toHaveCount(0)
  await expect(page.getByRole('region', { name: 'Top examples' })).toHaveCount(0)
})

test('from a feature to the headlines that have it among their strongest', async ({ page, api }) => {
  const headline = await api.firstHeadline()
  const feature = headline.features[0]?.feature ?? -1
  const { total, n_headlines } = await api.get('/api/headlines', { feature, limit: 1 })
  await page.goto(`/features/${feature}`)
  await page.getByRole('link', { name: /among (its|their) strongest/ }).click()
  await loaded(page)
  await expect(page.getByRole('status').first()).toHaveText(listed(total, n_headlines, 'headline'))
  await page.getByRole('button', { name: /Remove the filter feature/ }).click()
  await expect(page.getByRole('status').first()).toHaveText(`${count(n_headlines)} headlines`)
})
