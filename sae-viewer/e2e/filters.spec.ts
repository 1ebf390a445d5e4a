import { expect, listed, loaded, row, strongest, test } from './api'

for (const width of [1440, 390]) {
  test.describe(`at ${width} px`, () => {
    test.use({ viewport: { width, height: 900 } })

    test('headlines by confidence, and by a feature’s number', async ({ page, api }) => {
      await page.goto('/')
      await loaded(page)
      if (width === 390) await page.getByRole('button', { name: /^Filter by class/ }).click()
      const low = page.getByRole('slider', { name: 'Confidence, at least' })
      await low.focus()
      for (let i = 0; i < 6; i++) await low.press('PageUp') // each press moves a tenth of the range
      await expect(page).toHaveURL(/min_confidence=0\.6/)
      const sure = await api.get('/api/headlines', { min_confidence: 0.6, limit: 1 })
      await expect(page.getByRole('status').first()).toHaveText(listed(sure.total, sure.n_headlines, 'headline'))
      await page.getByRole('button', { name: 'Remove the filter confidence 60 to 100 %' }).click()
      await expect(page.getByRole('status').first()).toHaveText(listed(sure.n_headlines, sure.n_headlines, 'headline'))

      const feature = (await api.firstHeadline()).features[0]?.feature ?? 0
      await page.getByRole('textbox', { name: 'Has feature' }).fill(String(feature))
      const having = await api.get('/api/headlines', { feature, limit: 1 })
      await expect(page.getByRole('status').first()).toHaveText(listed(having.total, having.n_headlines, 'headline'))
    })

    test('features by support, density and word; every filter is a step that can be undone', async ({ page, api }) => {
      const { n_features } = await api.get('/api/features', { limit: 1 })
      await page.goto('/features')
      await loaded(page)
      if (width === 390) await page.getByRole('button', { name: 'More filters' }).click()
      const status = page.getByRole('status').first()

      await page.getByRole('button', { name: /^Support/ }).click()
      await page.getByRole('menuitemradio', { name: /^solid/ }).click()
      const solid = await api.get('/api/features', { support: 'solid', limit: 1 })
      await expect(status).toHaveText(listed(solid.total, n_features, 'feature'))

      const high = page.getByRole('slider', { name: 'Density, at most' })
      await high.focus()
      await high.press('ArrowLeft')
      await expect(page).toHaveURL(/max_density=/)
      const max_density = Number(new URL(page.url()).searchParams.get('max_density'))
      const rarer = await api.get('/api/features', { support: 'solid', max_density, limit: 1 })
      expect(rarer.total).toBeLessThan(solid.total)
      await expect(status).toHaveText(listed(rarer.total, n_features, 'feature'))
      await page.getByRole('button', { name: 'Clear all' }).click()
      await expect(status).toHaveText(listed(n_features, n_features, 'feature'))

      const word = (await api.topFeature()).word ?? ''
      await page.getByRole('searchbox', { name: 'Only features that fire on a word' }).fill(word)
      const firing = await api.get('/api/features', { token: word, limit: 1 })
      expect(firing.total).toBeGreaterThan(0)
      await expect(status).toHaveText(listed(firing.total, n_features, 'feature'))
    })
  })
}

test('the heading of the metric reverses the order', async ({ page, api }) => {
  const { features, total } = await api.get('/api/features', { order: 'asc', support: 'live', limit: 3 })
  await page.goto('/features?support=live')
  await loaded(page)
  const heading = page.getByRole('button', { name: 'Mean activation', exact: false }).last()
  await heading.click()
  await expect(page).toHaveURL(/order=asc/)
  for (const [place, feature] of features.entries()) {
    await expect(row(page, place).locator('a > span').nth(1)).toHaveText(String(feature.feature))
  }
  await heading.click()
  await expect(page).not.toHaveURL(/order/)
  expect(total).toBeGreaterThan(0)
})

test('previous, next and random features are those of the filtered list', async ({ page, api }) => {
  const filters = { support: 'solid', metric: 'kurtosis' } as const
  const { features, total } = await api.get('/api/features', { ...filters, limit: 5 })
  await page.addInitScript(() => (Math.random = () => 0.5))
  const [one, two, three] = features.map(({ feature }) => feature)
  await page.goto(`/features/${two}?metric=kurtosis&support=solid`)
  await expect(page.getByRole('button', { name: `Previous feature in the list: ${one}` })).toBeVisible()
  await expect(page.getByRole('button', { name: `Next feature in the list: ${three}` })).toBeVisible()
  await page.keyboard.press(']')
  await expect(page).toHaveURL(new RegExp(`/features/${three}\\?`))
  await expect(page.getByRole('button', { name: `Previous feature in the list: ${two}` })).toBeVisible()
  await page.keyboard.press('[')
  await expect(page).toHaveURL(new RegExp(`/features/${two}\\?`))
  await page.keyboard.press('r')
  const random = await api.get('/api/features', { ...filters, offset: Math.floor(total / 2), limit: 1 })
  await expect(page).toHaveURL(new RegExp(`/features/${random.features[0]?.feature}\\?`))
})

test('the context window cuts examples around the strongest word, and the address says so', async ({ page, api }) => {
  const info = await api.topFeature()
  await page.goto(`/features/${info.feature}`)
  const texts = () => page.locator('[data-example] bdi').allInnerTexts()
  await expect(page.locator('[data-example]').first()).toBeVisible()
  const whole = await texts()
  await page.getByRole('button', { name: '3 words on either side' }).click()
  await expect(page).toHaveURL(/context=3/)
  await expect.poll(async () => (await texts()).join('').length).toBeLessThan(whole.join('').length)
  expect((await texts()).length).toBe(whole.length)
  // The first region holds the top examples; other groups follow.
  const top = await page.getByRole('region', { name: 'Top examples' }).locator('[data-example] bdi').allInnerTexts()
  for (const [i, text] of top.entries()) expect(text).toContain(info.examples[i]?.word ?? '')
  await page.getByRole('button', { name: 'Whole headlines' }).click()
  await expect.poll(texts).toEqual(whole)
})

test('an open headline shows headlines with similar features, each linked to its row', async ({ page, api }) => {
  const { similar } = await api.get('/api/similar_headlines', { headline: 0, limit: 5 })
  await page.goto('/?open=0')
  const near = page.getByRole('region', { name: 'Headlines with similar features' })
  expect(similar).not.toHaveLength(0)
  await expect(near.getByRole('link')).toHaveCount(similar.length)
  for (const [i, { headline, similarity }] of similar.entries()) {
    await expect(near.getByRole('link').nth(i)).toContainText(headline.text)
    await expect(near.getByRole('link').nth(i)).toContainText(similarity.toFixed(2))
  }
  await near.getByRole('link').first().click()
  await expect(page).toHaveURL(new RegExp(`open=${similar[0]?.headline.headline}$`))
})

test('the heat of the chosen feature is in the address', async ({ page, api }) => {
  const headline = await api.firstHeadline()
  const last = headline.features.at(-1)
  await page.goto('/?open=0')
  await row(page, 0).getByRole('button', { name: new RegExp(`^Highlight feature ${last?.feature},`) }).click()
  await expect(page).toHaveURL(new RegExp(`lit=${last?.feature}$`))
  await page.reload()
  await expect.poll(() => strongest(row(page, 0))).toContain(last?.word)
})
