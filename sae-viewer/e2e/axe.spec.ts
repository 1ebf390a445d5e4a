import AxeBuilder from '@axe-core/playwright'
import { expect, test } from './api'
import { allViews } from './views'

// Contrast is the theme's, layout the width's: two of the four pairs see both of either.
for (const [theme, width] of [['light', 1440], ['dark', 390]] as const) {
  test(`no view has an accessibility fault: ${theme}, ${width} px`, async ({ page, api }) => {
    test.setTimeout(120_000)
    await page.setViewportSize({ width, height: 900 })
    await page.emulateMedia({ colorScheme: theme, reducedMotion: 'reduce' })
    for (const { name, path, ready } of await allViews(api)) {
      await page.goto(path)
      await ready(page)
      const { violations } = await new AxeBuilder({ page }).analyze()
      const faults = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 160)).join(' | ')}`)
      expect(faults, `${name} at ${path}`).toEqual([])
      const { scrollWidth, clientWidth } = await page.evaluate(() => {
        const { scrollWidth, clientWidth } = document.documentElement
        return { scrollWidth, clientWidth }
      })
      expect(scrollWidth, `${name} is not wider than the window`).toBeLessThanOrEqual(clientWidth)
    }
  })
}
