import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { count, expect, freePort, loaded, madeUpRuns, row, Server, test } from './api'

test('while the API is down the page says so, and it continues by itself', async ({ page }) => {
  const { folder, remove } = madeUpRuns({ words: ['shares', 'fall', 'on', 'weak', 'outlook'] })
  const api = Server.api(folder, await freePort())
  const viewer = await Server.viewer(api.url, await freePort()).start()
  try {
    await page.goto(viewer.url)
    await expect(page.getByText('The API does not answer.')).toBeVisible()
    await expect(page.getByText('python viz_analysis/feature_probe_server.py')).toBeVisible()
    await api.start()
    await loaded(page)

    await api.stop()
    await expect(page.getByRole('alert')).toContainText('python viz_analysis/feature_probe_server.py', { timeout: 20_000 })
    await expect(row(page, 0)).toBeVisible() // what is loaded stays on the page
    await page.getByRole('group', { name: 'Filter by verdict' }).getByRole('button', { name: 'Wrong' }).click()
    await expect(page.getByRole('region', { name: 'Headlines' })).toBeVisible()
    await page.getByRole('link', { name: 'Features', exact: true }).click()
    await expect(page.getByText('The API does not answer.')).toBeVisible()

    await api.start()
    await loaded(page)
    await expect(page.getByRole('alert')).toHaveCount(0)
    await page.goBack()
    await expect(page.getByRole('status').first()).toContainText(' of 25 headlines')
  } finally {
    await api.stop()
    await viewer.stop()
    remove()
  }
})

test('both tabs name a damaged file that a run can do without, and the way out', async ({ page }) => {
  const { folder, remove } = madeUpRuns({ words: ['old', 'news'] })
  const [run] = readdirSync(folder).filter((name) => name.endsWith('run-001'))
  writeFileSync(join(folder, run ?? 'none', 'family.json'), '{}')
  const api = await Server.api(folder, await freePort()).start()
  try {
    for (const view of ['/', '/features']) {
      await page.goto(`${api.url}${view}`)
      await loaded(page)
      await expect(page.getByText(/^family\.json has no checksum/)).toBeVisible()
      await expect(page.getByText('python -m sae_pipeline family --run run-001', { exact: true })).toBeVisible()
    }
  } finally {
    await api.stop()
    remove()
  }
})

test('both tabs say that the labels cannot be read, and why', async ({ page, request }) => {
  const { folder, remove } = madeUpRuns({ words: ['old', 'news'] })
  const api = await Server.api(folder, await freePort()).start()
  try {
    const { sae_hash } = (await (await request.get(`${api.url}/api/run`)).json()) as { sae_hash: string }
    mkdirSync(join(folder, 'labels'))
    writeFileSync(join(folder, 'labels', `${sae_hash}.json`), '{"checksum":"0"}')
    for (const view of ['/', '/features']) {
      await page.goto(`${api.url}${view}`)
      await loaded(page)
      await expect(page.getByText(`${sae_hash}.json in labels has changed`)).toBeVisible()
    }
  } finally {
    await api.stop()
    remove()
  }
})

test('a run deleted while it is open is reported in a sentence, and another can be chosen', async ({ page }) => {
  const { folder, remove } = madeUpRuns({ words: ['old', 'news'] }, { words: ['new', 'news', 'today'] })
  const api = await Server.api(folder, await freePort()).start()
  try {
    await page.goto(`${api.url}/?run=run-001`)
    await loaded(page)
    const doomed = readdirSync(folder).find((name) => name.endsWith('run-001')) ?? 'none'
    rmSync(join(folder, doomed), { recursive: true, maxRetries: 9 }) // the server may be writing its index there
    await page.getByRole('link', { name: 'Features', exact: true }).click()
    await expect(page.getByText(/There is no run/)).toBeVisible()
    await page.getByRole('button', { name: /^run-001/ }).click()
    await page.getByRole('dialog').getByRole('button', { name: /^run-002/ }).click()
    await loaded(page)
    await expect(page.getByRole('button', { name: /^run-002/ })).toBeVisible()
  } finally {
    await api.stop()
    remove()
  }
})

test('a newer run is offered and not shown unasked', async ({ page, api }) => {
  const run = await api.run()
  let served = run.run_id
  await page.route('**/api/health', (route) => route.fulfill({ json: { status: 'ok', version: '0', run_id: served } }))
  await page.goto('/')
  await loaded(page)
  served = 'run-999'
  await page.evaluate(() => window.dispatchEvent(new Event('visibilitychange')))
  await expect(page.getByRole('button', { name: 'Show run-999' })).toBeVisible({ timeout: 20_000 })
})

test('a slow answer shows a skeleton, then a sentence', async ({ page }) => {
  let go = () => {}
  const held = new Promise<void>((done) => (go = done))
  await page.route('**/api/headlines*', async (route) => {
    await held
    await route.continue()
  })
  await page.goto('/')
  await expect(page.getByRole('status', { name: 'Loading headlines' })).toBeVisible()
  await expect(page.getByText('Still waiting for the API.')).toBeVisible()
  go()
  await loaded(page)
  await expect(page.getByText('Still waiting for the API.')).toHaveCount(0)
})

for (const [name, answer] of [
  ['a mistake of the server', { status: 500, json: { error: { code: 'internal_error', message: 'The server made a mistake; its log says more.' } } }],
  ['an answer cut off in the middle', { status: 200, contentType: 'application/json', body: '{"run_id": "run-001", "headl' }],
  ['another program’s answer', { status: 200, contentType: 'text/html', body: '<h1>It works!</h1>' }],
] as const) {
  test(`${name} is reported in a sentence, and the page recovers`, async ({ page, api }) => {
    const { total } = await api.get('/api/headlines', { limit: 1 })
    await page.route('**/api/headlines*', (route) => route.fulfill(answer))
    await page.goto('/')
    const sentence = 'json' in answer ? answer.json.error.message : 'The API’s answer was cut off or comes from another program.'
    await expect(page.getByText(sentence)).toBeVisible()
    await expect(page.getByRole('link', { name: 'Features', exact: true })).toBeVisible()
    await page.unroute('**/api/headlines*')
    await expect(page.getByRole('status').first()).toHaveText(`${count(total)} headlines`)
  })
}
