/** Labels, saved files and the panel, on servers that the tests start themselves because labels are written. */

import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, freePort, loaded, madeUpRuns, row, Server, test } from './api'

let server: Server
let folder = ''
let remove = () => {}

test.beforeAll(async () => {
  ;({ folder, remove } = madeUpRuns({ words: ['shares', 'fall'] }, { words: ['<b>bold</b>', '\u202eevil', '😀', '"quoted,"', '=1+1', 'x'.repeat(9000)] }))
  server = await Server.api(folder, await freePort()).start()
})
test.afterAll(async () => {
  await server.stop()
  remove()
})

const labelsFile = () => join(folder, 'labels', readdirSync(join(folder, 'labels')).find((name) => name.endsWith('.json')) ?? '')

test('a name given to a feature is shown on its chips, survives a reload, holds in another run, and is found', async ({ page }) => {
  await page.goto(`${server.url}/`)
  await loaded(page)
  const chip = row(page, 0).locator('a.chip').first()
  const feature = Number((await chip.getAttribute('href'))?.match(/features\/(\d+)/)?.[1])
  await chip.click()
  await page.getByRole('textbox', { name: 'Name of this feature' }).fill('<i>beats</i> & raises')
  await page.getByRole('button', { name: 'Star this feature' }).click()
  await page.getByRole('button', { name: 'Add a note' }).click()
  await page.getByRole('textbox', { name: 'Note on this feature' }).fill('fires on\nguidance')
  await expect(page.getByRole('status').filter({ hasText: 'Saved' })).toBeVisible()
  await page.reload() // whether or not the draft was saved
  await expect(page.getByRole('textbox', { name: 'Name of this feature' })).toHaveValue('<i>beats</i> & raises')
  await expect(page.getByRole('textbox', { name: 'Note on this feature' })).toHaveValue('fires on\nguidance')
  await page.goto(`${server.url}/?feature=${feature}`)
  await expect(row(page, 0).getByRole('link', { name: `Feature ${feature}: starred <i>beats</i> & raises` })).toBeVisible()
  await page.goto(`${server.url}/features/${feature}?run=run-001`) // another run of the same SAE
  await expect(page.getByRole('textbox', { name: 'Name of this feature' })).toHaveValue('<i>beats</i> & raises')
  await page.goto(`${server.url}/?panel=labels`)
  const dialog = page.getByRole('dialog')
  await dialog.getByRole('searchbox').fill('guidance')
  await expect(dialog.getByRole('link')).toHaveCount(1)
  const saved = page.waitForEvent('download')
  await dialog.getByRole('button', { name: 'Save as JSON: these annotations' }).click()
  const { labels } = JSON.parse(readFileSync(await (await saved).path(), 'utf8')) as { labels: { feature: number; name: string }[] }
  expect(labels).toMatchObject([{ feature, name: '<i>beats</i> & raises' }])

  const rows = Array.from({ length: 10_000 }, (_, n) => `${n},<b>imported</b> ${n}`)
  await dialog.getByLabel('Add annotations from a file').setInputFiles({ name: 'names.csv', mimeType: 'text/csv', buffer: Buffer.from(`feature,name\n${rows.join('\n')}`) })
  const n = Number(/has ([\d,]+) annotations/.exec((await dialog.getByText('of this SAE’s features').textContent()) ?? '')?.[1]?.replace(',', ''))
  await expect(dialog.getByText(`rows with a feature number above ${n - 1} will be left out: this SAE has no such feature.`)).toBeVisible()
  await dialog.getByRole('button', { name: /^Add .* annotations$/ }).click()
  await expect(dialog.getByText('1 feature had another name already, which stays.')).toBeVisible()
  const kept = (JSON.parse(readFileSync(labelsFile(), 'utf8')) as { labels: Record<string, { name: string }> }).labels
  expect(Object.keys(kept)).toHaveLength(n)
  expect(kept[feature]?.name).toBe('<i>beats</i> & raises')
  writeFileSync(labelsFile(), JSON.stringify({ schema_version: 1, sae_hash: /labels\/(.*)\.json/.exec(labelsFile())?.[1], labels: { [feature]: kept[feature] } }))
})

test('changes in two tabs are merged; a conflict about one field is put to the reader', async ({ page, context }) => {
  const other = await context.newPage()
  const address = `${server.url}/features/7`
  const name = (tab: typeof page) => tab.getByRole('textbox', { name: 'Name of this feature' })
  await page.goto(address)
  await other.goto(address)
  await name(page).fill('mine')
  await expect(name(other)).toHaveValue('mine') // told by the first tab

  // The file changes without either tab knowing.
  await expect(page.getByRole('status').filter({ hasText: 'Saved' })).toBeVisible()
  const file = JSON.parse(readFileSync(labelsFile(), 'utf8')) as { checksum?: string; labels: Record<string, { name: string; note: string }> }
  file.labels['7'] = { ...file.labels['7'], name: 'theirs', note: 'kept' }
  delete file.checksum // as a person who edits the file does
  writeFileSync(labelsFile(), JSON.stringify(file))
  await name(page).fill('mine again')
  await expect(page.getByRole('alert')).toContainText('name: theirs')
  await page.getByRole('button', { name: 'Keep mine' }).click()
  await expect(page.getByRole('status').filter({ hasText: 'Saved' })).toBeVisible()
  await expect(page.getByRole('textbox', { name: 'Note on this feature' })).toHaveValue('kept')
  await expect.poll(() => (JSON.parse(readFileSync(labelsFile(), 'utf8')) as typeof file).labels['7']?.name).toBe('mine again')
})

test('hostile headlines are shown as text, in the saved page too', async ({ page }) => {
  await page.goto(`${server.url}/?q=bold&open=0`)
  await loaded(page)
  await expect(row(page, 0).locator('.headline')).toContainText('<b>bold</b>')
  await expect(row(page, 0).locator('.headline b')).toHaveCount(0)
  const { scrollWidth, clientWidth } = await page.evaluate(() => {
    const { scrollWidth, clientWidth } = document.documentElement
    return { scrollWidth, clientWidth }
  })
  expect(scrollWidth).toBeLessThanOrEqual(clientWidth)
  const saved = page.waitForEvent('download')
  await row(page, 0).getByRole('button', { name: 'Save as HTML: this headline' }).click()
  const html = readFileSync(await (await saved).path(), 'utf8')
  expect(html).toContain('&lt;b&gt;bold')
  await page.setContent(html)
  await expect(page.locator('h1')).toContainText('<b>bold</b>')
  await expect(page.locator('script, img, h1 b')).toHaveCount(0)
})

test('a whole filtered list is saved, and a chart as SVG and PNG', async ({ page }) => {
  await page.goto(`${server.url}/?correct=false`)
  await loaded(page)
  const total = Number((await page.getByRole('status').first().innerText()).split(' ')[0])
  const list = page.waitForEvent('download')
  await page.getByRole('button', { name: 'Save as JSON: these headlines' }).click()
  const headlines = JSON.parse(readFileSync(await (await list).path(), 'utf8')) as { label: number; prediction: number }[]
  expect(headlines).toHaveLength(total)
  expect(headlines.filter(({ label, prediction }) => label === prediction)).toEqual([])

  await page.goto(`${server.url}/?panel=quality`)
  const drawing = page.waitForEvent('download')
  await page.getByRole('button', { name: 'Save as SVG: Sparsity and reconstruction' }).click()
  const svg = readFileSync(await (await drawing).path(), 'utf8')
  expect(svg).toMatch(/^<svg [^>]*xmlns="http:\/\/www.w3.org\/2000\/svg"/)
  expect(svg).not.toMatch(/oklch|var\(|class=/)
  const pixels = page.waitForEvent('download')
  await page.getByRole('button', { name: 'Save as PNG: Sparsity and reconstruction' }).click()
  expect(readFileSync(await (await pixels).path()).subarray(1, 4).toString()).toBe('PNG')
})

test('runs are compared by their figures, one headline and the nearest features', async ({ page }) => {
  await page.goto(`${server.url}/?panel=runs`)
  const dialog = page.getByRole('dialog')
  await dialog.getByRole('button', { name: 'Compare with run-001' }).click()
  await expect(page).toHaveURL(/compare=run-001/)
  await expect(dialog.getByRole('columnheader', { name: /run-001/ })).toBeVisible()
  await expect(dialog.getByRole('article', { name: 'The headline in run-002' })).toBeVisible()
  await expect(dialog.getByText('This run does not have this headline.')).toBeVisible()
  await dialog.getByRole('textbox', { name: 'Number of the feature to find' }).fill('99999')
  await expect(dialog.getByText(/There is no feature “99999”/)).toBeVisible()
  await page.goBack()
  await expect(dialog.getByRole('button', { name: 'Compare with run-001' })).toBeVisible()
  await page.keyboard.press('Escape')
  await expect(dialog).toHaveCount(0)
})
