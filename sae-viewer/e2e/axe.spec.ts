import AxeBuilder from '@axe-core/playwright'
import { expect, test } from './api'
import { allViews } from './views'

// A theme changes colours alone, at every width alike.
const THEMES = { 1440: ['light', 'dark'], 390: ['light'] } as const

for (const width of [1440, 390] as const) {
  test(`no view has an accessibility fault or is wider than the window: ${width} px`, async ({ page, api }) => {
    test.setTimeout(240_000)
    await page.setViewportSize({ width, height: 900 })
    for (const { name, path, ready } of await allViews(api)) {
      await page.goto(path)
      await ready(page)
      for (const colorScheme of THEMES[width]) {
        await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
        const axe = new AxeBuilder({ page })
        if (colorScheme === 'dark') axe.withRules('color-contrast')
        const { violations } = await axe.analyze()
        const faults = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 160)).join(' | ')}`)
        expect(faults, `${name} at ${path}, ${colorScheme}`).toEqual([])
      }
      const { scrollWidth, clientWidth } = await page.evaluate(() => {
        const { scrollWidth, clientWidth } = document.documentElement
        return { scrollWidth, clientWidth }
      })
      expect(scrollWidth, `${name} is not wider than the window`).toBeLessThanOrEqual(clientWidth)
    }
  })
}
