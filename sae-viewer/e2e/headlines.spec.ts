import { count, expect, IN_ORDER, listed, loaded, row, strongest, test } from './api'

test('the headlines in order, with prediction, label and verdict in words', async ({ page, api }) => {
  const { headlines, total, labels } = await api.get('/api/headlines', { limit: 5 })
  await page.goto(IN_ORDER)
  await expect(page.getByRole('link', { name: 'Headlines', exact: true })).toHaveAttribute('aria-current', 'page')
  await expect(page.getByRole('status').filter({ hasText: `${count(total)} headline` })).toBeVisible()
  for (const [place, headline] of headlines.entries()) {
    const shown = row(page, place)
    await expect(shown.locator('bdi').first()).toHaveText(headline.text, { useInnerText: false })
    const correct = headline.label === headline.prediction
    const verdict = shown.getByText(correct ? 'Correct' : 'Wrong', { exact: true }).first()
    await expect(verdict).toBeVisible()
    await expect(verdict.locator('svg')).toBeVisible()
    await expect(verdict).toHaveClass(correct ? /text-correct/ : /text-wrong/)
    await expect(shown.locator('dd').nth(0)).toHaveText(labels[headline.prediction] ?? '')
    await expect(shown.locator('dd').nth(1)).toContainText('%')
    await expect(shown.locator('dd').nth(2)).toHaveText(labels[headline.label] ?? '')
  }
})

test('correct is green and wrong is red', async ({ page, api }) => {
  const { n_correct, n_headlines } = await api.get('/api/headlines', { limit: 1 })
  for (const [correct, n, word] of [[true, n_correct, 'Correct'], [false, n_headlines - n_correct, 'Wrong']] as const) {
    if (n === 0) continue
    await page.goto(`/?correct=${correct}`)
    const color = await row(page, 0).getByText(word, { exact: true }).first().evaluate((element) => {
      const canvas = document.createElement('canvas').getContext('2d')
      if (!canvas) throw new Error('no canvas')
      canvas.fillStyle = getComputedStyle(element).color
      canvas.fillRect(0, 0, 1, 1)
      return [...canvas.getImageData(0, 0, 1, 1).data]
    })
    const [red = 0, green = 0] = color
    expect(correct ? green > red + 40 : red > green + 40).toBe(true)
  }
})

test('three chips name feature and word; hover and focus show the activations and colour the words', async ({ page, api }) => {
  const headline = await api.firstHeadline()
  await page.goto(IN_ORDER)
  const shown = row(page, 0)
  for (const [i, fired] of headline.features.slice(0, 3).entries()) {
    const chip = shown.locator('.chip').nth(i)
    const found = headline.found_names[fired.feature]
    await expect(chip).toHaveText(`Feature ${fired.feature}:${found ? found.text : `no name, strongest word “${fired.word}”`}`)
  }
  await expect(shown.locator('.chip')).toHaveCount(Math.min(3, headline.features.length))
  await expect(shown.locator('mark')).toHaveCount(0)

  const fired = headline.features[0]
  if (!fired) throw new Error('the first headline has no features')
  const chip = shown.locator('.chip').first()
  for (const point of [() => chip.hover(), () => chip.focus()]) {
    await point()
    await expect(page.getByRole('tooltip')).toContainText(`Feature ${fired.feature}: activation ${fired.activation.toPrecision(3)}`)
    const lit = () => shown.locator('mark').evaluateAll((marks) => marks.map((mark) => Number(mark.dataset['activation'])).sort())
    // A word has one mark, with the highest activation of its pieces.
    const words = new Map<number, number>()
    fired.positions.forEach((position, i) => {
      const word = headline.words[position] ?? -1
      words.set(word, Math.max(words.get(word) ?? 0, fired.values[i] ?? 0))
    })
    await expect.poll(lit).toEqual([...words.values()].sort())
    expect(await strongest(shown)).toContain(fired.word)
    await page.mouse.move(0, 400)
    await chip.blur()
    await expect(shown.locator('mark')).toHaveCount(0)
  }
})

test('"Show all" opens the headline to all its features, and the address says so', async ({ page, api }) => {
  const headline = await api.firstHeadline()
  await page.goto(IN_ORDER)
  await row(page, 0).getByRole('button', { name: `Show all ${headline.features.length}` }).click()
  await expect(row(page, 0).locator('.chip')).toHaveCount(headline.features.length)
  await expect(page).toHaveURL(/open=0/)
  await expect(row(page, 0).locator('mark').first()).toBeVisible() // the strongest feature is coloured

  const last = headline.features.at(-1)
  await row(page, 0).getByRole('button', { name: new RegExp(`Highlight feature ${last?.feature},`) }).click()
  await page.mouse.move(0, 0)
  await expect.poll(() => strongest(row(page, 0))).toContain(last?.word)

  await row(page, 0).getByRole('button', { name: 'Show fewer' }).click()
  await expect(row(page, 0).locator('.chip')).toHaveCount(Math.min(3, headline.features.length))
})

test('every filter shows what the API counts, and Back undoes it', async ({ page, api }) => {
  const run = await api.run()
  await page.goto(IN_ORDER)
  const status = page.getByRole('status').first()
  await page.getByRole('group', { name: 'Filter by verdict' }).getByRole('button', { name: 'Wrong' }).click()
  const wrong = await api.get('/api/headlines', { correct: false, limit: 1 })
  await expect(status).toContainText(count(wrong.total))
  await expect(page).toHaveURL(/correct=false/)

  const label = run.labels.length - 1
  await page.getByRole('button', { name: `Predicted ${run.labels[label]}`, exact: true }).click()
  const both = await api.get('/api/headlines', { correct: false, prediction: label, limit: 1 })
  await expect(status).toHaveText(`${count(both.total)} of ${count(both.n_headlines)} headlines`)
  await expect(page.getByRole('list', { name: 'Active filters' }).getByRole('button')).toHaveCount(3)

  await page.goBack()
  await expect(status).toContainText(count(wrong.total))
  await page.goBack()
  await expect(status).toHaveText(`${count(wrong.n_headlines)} headlines`)
})

test('the confusion matrix counts and filters', async ({ page, api }) => {
  const run = await api.run()
  const asked: string[] = []
  page.on('request', (request) => asked.push(new URL(request.url()).pathname))
  await page.goto(IN_ORDER)
  const matrix = page.getByRole('group', { name: 'Filter by label and prediction' })
  for (let label = 0; label < run.labels.length; label++) {
    for (let prediction = 0; prediction < run.labels.length; prediction++) {
      const { total } = await api.get('/api/headlines', { label, prediction, limit: 1 })
      const name = `Label ${run.labels[label]}, predicted ${run.labels[prediction]}: ${count(total)}`
      await expect(matrix.getByRole('button', { name, exact: true })).toBeVisible()
    }
  }
  expect(asked.filter((path) => path === '/api/confusion')).toHaveLength(1)
  const { total, n_headlines } = await api.get('/api/headlines', { label: 0, prediction: 0, limit: 1 })
  const cell = matrix.getByRole('button', { name: new RegExp(`^Label ${run.labels[0]}, predicted ${run.labels[0]}:`) })
  await cell.click()
  await expect(page.getByRole('status').first()).toHaveText(`${count(total)} of ${count(n_headlines)} headlines`)
  await expect(cell).toHaveAttribute('aria-pressed', 'true')
  await cell.click()
  await expect(page.getByRole('status').first()).toHaveText(`${count(n_headlines)} headlines`)
})

test('typing a search sends one request', async ({ page, api }) => {
  const headline = await api.firstHeadline()
  const wanted = headline.text.split(/\s+/).sort((one, other) => other.length - one.length)[0]?.slice(0, 12) ?? ''
  const { total, n_headlines, headlines } = await api.get('/api/headlines', { q: wanted, limit: 1 })
  await page.clock.install()
  await page.goto(IN_ORDER)
  await loaded(page)
  const asked = new Set<string>()
  page.on('request', (request) => {
    const q = new URL(request.url()).searchParams.get('q')
    if (q) asked.add(q)
  })
  await page.clock.pauseAt(Date.now() + 60_000) // the pause after a key does not pass before the last one
  await page.keyboard.press('/')
  await page.keyboard.type(wanted)
  await page.clock.resume()
  await expect(page.getByRole('status').first()).toHaveText(listed(total, n_headlines, 'headline'))
  await expect(row(page, 0).locator('bdi').first()).toHaveText(headlines[0]?.text ?? '', { useInnerText: false })
  await expect.poll(() => new URL(page.url()).searchParams.get('q')).toBe(wanted)
  expect([...asked]).toEqual([wanted])
  await page.keyboard.press('Escape')
  await expect(page.getByRole('status').first()).toHaveText(`${count(n_headlines)} headlines`)
})

test('sorting asks the API', async ({ page, api }) => {
  const { headlines } = await api.get('/api/headlines', { sort: 'loss', order: 'desc', limit: 3 })
  await page.goto(IN_ORDER)
  await page.getByRole('button', { name: /^Sort/ }).click()
  await page.getByRole('menuitemradio', { name: /loss, highest first/ }).click()
  for (const [place, headline] of headlines.entries()) {
    await expect(row(page, place).locator('bdi').first()).toHaveText(headline.text, { useInnerText: false })
  }
  await expect(page).toHaveURL(/sort=loss&order=desc/)
})

test('pieces and special tokens are shown on request only', async ({ page, api }) => {
  const headline = await api.firstHeadline()
  const specials = headline.tokens.filter((_, i) => (headline.words[i] ?? 0) < 0)
  await page.goto(IN_ORDER)
  await expect(row(page, 0).locator('bdi').first()).toHaveText(headline.text, { useInnerText: false })
  await page.getByRole('checkbox', { name: 'Show tokens as the model reads them' }).check()
  for (const special of specials) await expect(row(page, 0).locator('bdi').first()).toContainText(special)
  await expect(page).toHaveURL(/tokens=pieces/)
})

test('only rows in sight are drawn, to the end of the list', async ({ page, api }) => {
  const { total } = await api.get('/api/headlines', { limit: 1 })
  await page.goto(IN_ORDER)
  await loaded(page)
  await page.evaluate(() => window.scrollTo(0, document.documentElement.scrollHeight))
  await expect(row(page, total - 1).locator('article')).toBeVisible()
  expect(await page.locator('[data-index]').count()).toBeLessThan(40)
})
