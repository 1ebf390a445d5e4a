/** The viewer from elsewhere: under a prefix behind a real nginx, with a password, and where it cannot start. */

import type { Page } from '@playwright/test'
import { expect, freePort, loaded, madeUpRuns, row, Server, test } from './api'
import { jupyterLab, nginx, NGINX } from './proxies'

test.describe('behind nginx', () => {
  test.describe.configure({ mode: 'default' }) // one nginx for all of them
  test.skip(NGINX === undefined, 'nginx is not installed: apt-get install nginx-light')

  const servers: Server[] = []
  const removals: (() => void)[] = []
  let proxy: Server

  test.beforeAll(async () => {
    const { folder, remove } = madeUpRuns({ words: ['shares', 'fall', 'on', 'weak', 'outlook'] })
    const [stripped, kept] = [await freePort(), await freePort()]
    const started = await nginx({
      '/some/prefix/': `proxy_pass http://127.0.0.1:${stripped}/;`,
      '/kept/prefix/': `proxy_pass http://127.0.0.1:${kept}; proxy_set_header Host $http_host;`,
      '/wrong/': `proxy_pass http://127.0.0.1:${stripped};`, // the prefix stays, and the server knows nothing of it
    })
    proxy = started.proxy
    removals.push(remove, started.remove)
    servers.push(
      Server.api(folder, stripped),
      Server.api(folder, kept, '--base-path', '/kept/prefix').probedAt('/kept/prefix/api/health'),
      proxy,
    )
    await Promise.all(servers.map((server) => server.start()))
  })
  test.afterAll(async () => {
    await Promise.all(servers.map((server) => server.stop()))
    for (const remove of removals) remove()
  })

  for (const [feature, prefix] of [[3, '/some/prefix'], [4, '/kept/prefix']] as const) { // they share one run's labels
    test(`all of the viewer works under ${prefix}/`, async ({ page }) => {
      const astray = strayRequests(page, `${proxy.url}${prefix}/`)
      await page.goto(`${proxy.url}${prefix}/features/${feature}?context=4`)
      await expect(page.getByRole('heading', { name: `Feature ${feature}` })).toBeVisible()
      await page.reload()
      await expect(page.getByRole('heading', { name: `Feature ${feature}` })).toBeVisible()
      await page.getByRole('textbox', { name: 'Name of this feature' }).fill(`seen under ${prefix}`)
      await expect(page.getByRole('status').filter({ hasText: 'Saved' })).toBeVisible()
      await page.getByRole('link', { name: 'Headlines', exact: true }).click()
      await expect(page).toHaveURL(`${proxy.url}${prefix}/`)
      await loaded(page)
      await row(page, 0).locator('a.chip').first().click()
      await expect(page).toHaveURL(new RegExp(`${prefix}/features/\\d+`))
      await page.goBack()
      await loaded(page)
      await page.keyboard.press('Tab')
      await page.getByRole('link', { name: 'Skip to the content' }).press('Enter')
      await expect(page.locator('main')).toBeFocused()
      await expect(page).toHaveURL(`${proxy.url}${prefix}/`)
      await page.getByRole('button', { name: /^run-001/ }).click()
      await expect(page.getByRole('dialog')).toBeVisible()
      expect(await page.evaluate(() => document.fonts.check('16px "Source Sans 3 Variable"'))).toBe(true)
      expect(astray).toEqual([])
    })
  }

  test('a proxy that keeps a prefix of which the server knows nothing ends in a sentence', async ({ page }) => {
    await page.goto(`${proxy.url}/wrong/`)
    await expect(page.getByText('start the server with --base-path')).toBeVisible()
  })
})

test('in JupyterLab under a prefix, show puts the viewer into the cell', async ({ browser }) => {
  test.skip(process.env.REACH !== 'full', 'takes half a minute: make check-reach')
  test.setTimeout(300_000)
  const { folder, remove } = madeUpRuns({ words: ['shares', 'fall', 'on', 'weak', 'outlook'] })
  const { lab, address, remove: removeLab } = await jupyterLab([`from sae_pipeline import show\nshow(analysis_dir=${JSON.stringify(folder)})`])
  await lab.start()
  const page = await browser.newPage({ viewport: { width: 1440, height: 1100 } }) // whose messages are JupyterLab's
  try {
    await page.goto(address)
    await expect(page.getByText('| Idle')).toBeVisible({ timeout: 60_000 }) // before, it would not run the cell
    await page.locator('.jp-CodeCell .cm-content').first().click()
    await page.keyboard.press('Shift+Enter')
    const frame = page.frameLocator('iframe[title="FinBERT SAE Explorer"]')
    await expect(frame.locator('[data-index="0"] article')).toBeVisible({ timeout: 60_000 })
    if (process.env.SCREENSHOTS) await page.screenshot({ path: `${process.env.SCREENSHOTS}/jupyterlab.png` })
    await frame.locator('[data-index="0"] a.chip').first().click()
    await frame.getByRole('textbox', { name: 'Name of this feature' }).fill('seen in JupyterLab')
    await expect(frame.getByRole('status').filter({ hasText: 'Saved' })).toBeVisible()
    const source = (await page.locator('iframe[title="FinBERT SAE Explorer"]').getAttribute('src')) ?? ''
    expect(source).toMatch(/^\/user\/me\/proxy\/\d+\//)
    const [folderOfPage = ''] = source.split('?')
    const astray = strayRequests(page, `${lab.url}${folderOfPage}`)
    await page.goto(`${lab.url}${folderOfPage}features/3`)
    await expect(page.getByRole('heading', { name: 'Feature 3' })).toBeVisible()
    expect(astray).toEqual([])
  } finally {
    await page.close()
    await lab.stop()
    removeLab()
    remove()
  }
})

test('a password is asked for once, also for a deep address', async ({ page, context }) => {
  const { folder, remove } = madeUpRuns({ words: ['old', 'news'] })
  const server = await Server.api(folder, await freePort(), '--password', 'open sesame').start()
  try {
    await page.goto(`${server.url}/features/3?context=4`)
    await page.getByLabel('Password or token').fill('guess')
    await page.keyboard.press('Enter')
    await expect(page.getByRole('alert')).toHaveText('This is not the password.')
    await page.getByLabel('Password or token').fill('open sesame')
    await page.getByRole('button', { name: 'Open' }).click()
    await expect(page.getByRole('heading', { name: 'Feature 3' })).toBeVisible()
    await expect(page).toHaveURL(`${server.url}/features/3?context=4`)
    await context.clearCookies()
    await page.goto(`${server.url}/?token=open+sesame&order=desc`)
    await loaded(page)
    await expect(page).toHaveURL(`${server.url}/?order=desc`)
  } finally {
    await server.stop()
    remove()
  }
})

test('without JavaScript the page says so', async ({ browser, baseURL }) => {
  const page = await browser.newPage({ javaScriptEnabled: false, baseURL: baseURL ?? '' })
  await page.goto('/features/3')
  await expect(page.locator('noscript p')).toContainText('This viewer needs JavaScript')
  await page.close()
})

test('in a browser that does not run modules a sentence appears', async ({ page }) => {
  await page.route('**/assets/*.js', (route) => route.fulfill({ contentType: 'text/javascript', body: '' }))
  await page.goto('/')
  await expect(page.getByText('use a browser of 2024 or later')).toBeVisible()
})

/** The requests of a page that fail or leave `folder`; filled while the page is used. */
function strayRequests(page: Page, folder: string): string[] {
  const found: string[] = []
  page.on('request', (request) => !request.url().startsWith(folder) && found.push(`left: ${request.url()}`))
  page.on('response', (response) => response.status() >= 400 && found.push(`${response.status()}: ${response.url()}`))
  return found
}
