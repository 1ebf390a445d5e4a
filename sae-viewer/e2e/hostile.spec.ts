import { expect, freePort, loaded, madeUpRuns, row, Server, test } from './api'

const HOSTILE = [
  '<img src=x onerror="document.title=1">',
  '</bdi><script>throw 1</script>',
  '\u202eesrever',
  'שלום',
  '🚀🇺🇸👩‍👩‍👧',
  '\u0000\u0007\u001b[31m',
  'x'.repeat(10_000),
  '&amp;&#x3c;',
  '{{7*7}}${7*7}',
]

for (const width of [1440, 390]) {
  test(`hostile text is text at ${width} px: in rows, chips, titles and on a feature’s page`, async ({ page }) => {
    await page.setViewportSize({ width, height: 900 })
    const { folder, remove } = madeUpRuns(HOSTILE)
    const api = await Server.api(folder, await freePort()).start()
    const noSideways = () =>
      page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)
    try {
      const { headlines } = (await (await fetch(`${api.url}/api/headlines?limit=25`)).json()) as { headlines: { text: string }[] }
      await page.goto(`${api.url}/?open=0`)
      await loaded(page)
      const shown = (await row(page, 0).locator('bdi').first().textContent()) ?? ''
      // Invisible characters are replaced by a sign, unit for unit; all other text is unchanged.
      expect(shown.length).toBe(headlines[0]?.text.length)
      expect(shown.replaceAll('\ufffd', '')).not.toMatch(/[\u0000\u0007\u001b\u202e]/)
      expect(await page.locator('main img, main script').count()).toBe(0)
      expect(await page.title()).toContain('FinBERT SAE Explorer')
      expect(await noSideways()).toBeLessThanOrEqual(0)

      await page.goto(`${api.url}/features`)
      await loaded(page)
      const words = await page.locator('[data-index] bdi').evaluateAll((all) => all.map((word) => word.getBoundingClientRect().height))
      expect(words.length).toBeGreaterThan(HOSTILE.length)
      expect(Math.max(...words)).toBeLessThan(40) // one line each
      expect(await noSideways()).toBeLessThanOrEqual(0)
      await row(page, 0).getByRole('link').click()
      await expect(page.getByRole('heading', { level: 1 })).toBeVisible()
      await expect(page.locator('[data-example]').first()).toBeVisible()
      expect(await page.locator('main img, main script').count()).toBe(0)
      expect(await noSideways()).toBeLessThanOrEqual(0)
    } finally {
      await api.stop()
      remove()
    }
  })
}
