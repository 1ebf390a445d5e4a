import type { Page } from '@playwright/test'
import { count, expect, loaded, test } from './api'

const listed = (page: Page) => page.getByRole('region', { name: 'Listed features' })
const links = (page: Page) => page.getByRole('list', { name: 'Features' }).getByRole('link')

test('the map is drawn under the server’s policy, and a lasso lists its features with a link to the bench', async ({ page, api }) => {
  const map = await api.get('/api/map')
  // The server's own pages forbid code that is compiled at run time; those of `vite preview` do not.
  await page.goto(`http://127.0.0.1:${process.env['E2E_API_PORT']}/map`)
  await expect(listed(page).getByRole('status')).toHaveText(`${count(map.features.length)} features on the map`)
  const plane = page.getByTestId('plane')
  await expect(plane.locator('canvas')).toBeVisible()
  const picture = () => plane.screenshot()
  const before = await picture()
  await page.getByRole('button', { name: 'Zoom in' }).click()
  await expect.poll(async () => (await picture()).equals(before)).toBe(false)
  await page.getByRole('button', { name: 'Show the whole map' }).click()

  await page.getByRole('button', { name: 'Lasso' }).click()
  const { x, y, width, height } = (await plane.boundingBox()) ?? { x: 0, y: 0, width: 0, height: 0 }
  await page.mouse.move(x + 4, y + 4)
  await page.mouse.down()
  for (const [toX, toY] of [[width - 4, 4], [width - 4, height / 2], [4, height / 2]] as const) await page.mouse.move(x + toX, y + toY, { steps: 8 })
  await page.mouse.up()
  const inside = map.y.filter((place) => place < 0.5).length
  await expect(page).toHaveURL(/lasso=/)
  const said = await listed(page).getByRole('status').textContent()
  const found = Number(said?.replace(/\D/g, ''))
  expect(Math.abs(found - inside)).toBeLessThanOrEqual(Math.ceil(0.05 * map.features.length))
  await expect(listed(page).getByRole('table')).toContainText('features here')

  // The address alone shows the same.
  await page.reload()
  await expect(listed(page).getByRole('status')).toHaveText(`${count(found)} features inside the lasso`)
  await listed(page).getByRole('link', { name: /on the bench$/ }).click()
  await expect(page).toHaveURL(/\/bench\?/)
  const { edits } = JSON.parse(new URL(page.url()).searchParams.get('bench') ?? '{}') as { edits: [number, string, number][] }
  expect(edits).toHaveLength(Math.min(found, 256))
  expect(edits.every(([, operation]) => operation === 'ablate')).toBe(true)
})

test('without WebGL the lists hold the same features, and the keyboard reaches them', async ({ page, api }) => {
  const map = await api.get('/api/map')
  await page.addInitScript(() => {
    // eslint-disable-next-line @typescript-eslint/unbound-method -- it is called with its canvas
    const real = HTMLCanvasElement.prototype.getContext as (this: HTMLCanvasElement, kind: string) => unknown
    Object.assign(HTMLCanvasElement.prototype, {
      getContext(this: HTMLCanvasElement, kind: string) {
        return kind.startsWith('webgl') ? null : real.call(this, kind)
      },
    })
  })
  await page.goto('/features')
  await loaded(page)
  await page.keyboard.press('g')
  await page.keyboard.press('m')
  await expect(page).toHaveURL(/\/map$/)
  await expect(page.getByText('does not support WebGL 2')).toBeVisible()
  await expect(listed(page).getByRole('status')).toHaveText(`${count(map.features.length)} features on the map`)
  const regions = page.getByRole('list', { name: 'Regions' }).getByRole('button')
  await expect(regions).toHaveCount(map.regions.length)
  await regions.first().focus()
  await page.keyboard.press('Enter')
  await expect(listed(page).getByRole('status')).toContainText(`${count(map.regions[0]?.n_features ?? 0)} features in`)
  const own = map.features.filter((_, i) => map.region[i] === 0)
  const first = Number((await links(page).first().getAttribute('href'))?.match(/features\/(\d+)/)?.[1])
  expect(own).toContain(first)
  await links(page).first().press('Enter')
  await expect(page.getByRole('heading', { level: 1 })).toContainText(`Feature ${first}`)
})

test('a search by meaning says why it found a feature, and the address keeps it', async ({ page, api }) => {
  await page.goto('/features')
  await page.getByRole('searchbox', { name: /^Search features/ }).fill('analyst cuts rating')
  await page.getByRole('button', { name: 'by meaning' }).click()
  await expect(page).toHaveURL(/q=analyst\+cuts\+rating&by=meaning/)
  await expect(page.locator('[data-index="0"]')).toContainText('nearest example', { timeout: 60_000 })
  const { features } = await api.get('/api/features', { q: 'analyst cuts rating', by: 'meaning', limit: 1 })
  await expect(page.locator('[data-index="0"] a > span').nth(1)).toHaveText(String(features[0]?.feature))
  await expect(page.locator('[data-index="0"]')).toContainText(features[0]?.nearest?.text.slice(0, 20) ?? '')
  await page.goto('/?q=merger+talk&by=meaning')
  await expect(page.locator('[data-index="0"]')).toContainText('similarity of meaning')
})
