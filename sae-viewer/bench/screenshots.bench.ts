import { mkdirSync } from 'node:fs'
import { expect, test } from '../e2e/api'
import { allViews } from '../e2e/views'

const folder = process.env.SCREENSHOTS ?? '../build/screenshots'

for (const theme of ['light', 'dark'] as const) {
  for (const [width, height] of [[1440, 900], [390, 844]] as const) {
    test(`${theme} ${width}`, async ({ page, api }) => {
      mkdirSync(folder, { recursive: true })
      await page.setViewportSize({ width, height })
      await page.emulateMedia({ colorScheme: theme, reducedMotion: 'reduce' })
      for (const { name, path, ready } of await allViews(api)) {
        await page.goto(path)
        await ready(page)
        await page.evaluate(() => document.fonts.ready)
        await page.mouse.move(0, 0)
        await expect(page.locator('.skeleton')).toHaveCount(0) // counts and similar headlines come after the list
        await page.screenshot({ path: `${folder}/${name}-${theme}-${width}.png` })
      }
    })
  }
}
