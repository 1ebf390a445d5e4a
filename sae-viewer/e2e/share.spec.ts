/** A run as one page opened from a file, and as a site on static hosts, without a server of ours. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Page } from '@playwright/test'
import { expect, loaded, row, test } from './api'
import { exportRun, StaticHost } from './sharing'

test.describe.configure({ mode: 'serial' })

const folder = mkdtempSync(join(tmpdir(), 'viewer-share-'))
const page_ = pathToFileURL(join(folder, 'run.html')).href

test.beforeAll(() => exportRun(folder, 'whole'))
test.afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** The addresses that a page asks for, beside its own data. */
function requests(page: Page): string[] {
  const asked: string[] = []
  page.on('request', (request) => /^(data|blob):/.test(request.url()) || asked.push(request.url()))
  return asked
}

/** What a reader does: both tabs, search, filters, orders, causes, links, Back, the panel. `start` is the page's address. */
async function readThrough(page: Page, start: string): Promise<void> {
  await page.goto(start)
  await loaded(page)
  await expect(page.getByRole('status').filter({ hasText: '60 headlines' })).toBeVisible()
  await page.getByRole('searchbox', { name: /search/i }).first().fill('surge')
  await expect(page).toHaveURL(/#\/\?q=surge/)
  await expect(page.getByText(/ of 60 headlines/)).toBeVisible()
  await expect(row(page, 0).locator('bdi').first()).toContainText('surge')

  await page.goto(`${start}#/?sort=confidence&order=desc&where=day%3A2024-02..&open=0`)
  await expect(page.getByText('20 of 60 headlines')).toBeVisible()
  await expect(row(page, 0)).toContainText('2024-02-01')
  await expect(row(page, 0).getByText('Headlines with similar features')).toBeVisible()

  await page.goto(`${start}#/?open=0&effects=true`)
  await expect(row(page, 0).getByRole('figure', { name: /Waterfall/ })).toBeVisible()
  await expect(page.getByRole('link', { name: 'Bench' })).toHaveCount(0)
  await expect(page.getByRole('link', { name: 'Try on the bench' })).toHaveCount(0)

  await page.getByRole('link', { name: 'Features', exact: true }).click()
  await expect(page).toHaveURL(/#\/features/)
  await page.goto(`${start}#/features/9`)
  await expect(page.getByRole('heading', { name: /^Feature 9/ })).toBeVisible()
  await expect(page.getByRole('region', { name: 'Annotation' })).toContainText('Rate cuts')
  await expect(page.getByRole('region', { name: 'Annotation' })).toContainText('Fires on cuts.')
  await expect(page.getByRole('textbox', { name: 'Name of this feature' })).toHaveCount(0)
  await page.getByRole('region', { name: 'Similar by direction' }).getByRole('link').first().click()
  await expect(page.getByRole('heading', { name: /^Feature (?!9\b)/ })).toBeVisible()
  await page.goBack()
  await expect(page.getByRole('heading', { name: /^Feature 9/ })).toBeVisible()
  await page.reload()
  await expect(page.getByRole('heading', { name: /^Feature 9/ })).toBeVisible()

  await page.getByRole('button', { name: /run-001/ }).click()
  await expect(page.getByRole('dialog')).toContainText('How often features fire')
  await expect(page.getByRole('dialog').getByRole('navigation')).toHaveText('QualityContrastFine-tuningAnnotations')
  await page.goto(`${start}#/?panel=compare&bench=x`)
  await expect(page.getByRole('dialog')).toContainText('choosing and comparing runs needs the server')
  await page.goto(`${start}#/?run=run-077`)
  await expect(page.getByText('This page holds run-001 only')).toBeVisible()
}

test('one page from a file: everything works, and nothing is asked of any network', async ({ page }) => {
  const asked = requests(page)
  await readThrough(page, page_)
  expect(asked.filter((address) => address.split('#')[0] !== page_)).toEqual([])
})

test('a site under a prefix, on a host that sends ranges of bytes', async ({ page }) => {
  const host = new StaticHost(join(folder, 'site'), '/some/prefix', true)
  const address = await host.start()
  const asked = requests(page)
  await readThrough(page, address)
  expect(asked.filter((one) => !one.startsWith(address))).toEqual([])
  expect(host.answers.filter(({ status }) => status >= 400)).toEqual([])
  expect(new Set(packs(host).map(({ status }) => status))).toEqual(new Set([206]))
  host.stop()
})

test('a host without ranges is asked for each pack once', async ({ page }) => {
  const host = new StaticHost(join(folder, 'site'), '', false)
  await page.goto(await host.start())
  await loaded(page)
  await page.getByRole('link', { name: 'Features', exact: true }).click()
  await loaded(page)
  expect(packs(host).map(({ status }) => status)).toEqual([200])
  host.stop()
})

const packs = (host: StaticHost) => host.answers.filter(({ path }) => path.endsWith('.bin'))

test('a site whose data are missing or of another export says so', async ({ page }) => {
  const host = new StaticHost(join(folder, 'site'), '', true)
  const address = await host.start()
  await page.route('**/*.bin', (route) => route.fulfill({ status: 404 }))
  await page.goto(address)
  await expect(page.getByText(/upload the whole folder again/)).toBeVisible()
  await page.unroute('**/*.bin')
  await page.route('**/*.bin', (route) => route.fulfill({ status: 200, body: 'other' }))
  await page.goto('about:blank')
  await page.goto(address)
  await expect(page.getByText(/load the page again/)).toBeVisible()
  host.stop()
})

test('hostile words stay text in a shared page', async ({ page }) => {
  const hostile = mkdtempSync(join(tmpdir(), 'viewer-share-'))
  exportRun(hostile, 'hostile')
  const address = pathToFileURL(join(hostile, 'run.html')).href
  for (const path of ['/?open=1&effects=true', '/features?labelled=true', '/?panel=labels']) {
    await page.goto('about:blank')
    await page.goto(`${address}#${path}`)
    await loaded(page)
    const found = await page.evaluate(() => ({
      hacked: 'hacked' in window,
      elements: document.querySelectorAll('#root :is(script, img, iframe, object), [onerror], [onload], a[href^="javascript:"]').length,
    }))
    expect(found, path).toEqual({ hacked: false, elements: 0 })
  }
  rmSync(hostile, { recursive: true, force: true })
})
