import { expect, IN_ORDER, loaded, row, test } from './api'

test('keys move through the lists, between the tabs and to the help', async ({ page }) => {
  await page.goto(IN_ORDER)
  await loaded(page)
  await page.keyboard.press('j')
  await page.keyboard.press('j')
  await expect(row(page, 1).locator('[data-row]')).toBeFocused()
  await page.keyboard.press('k')
  await expect(row(page, 0).locator('[data-row]')).toBeFocused()
  await page.keyboard.press('Enter')
  await expect(page).toHaveURL(/open=0/)
  await page.keyboard.press('Escape')
  await expect(page).not.toHaveURL(/open/)

  await page.keyboard.press('g')
  await page.keyboard.press('f')
  await expect(page).toHaveURL(/\/features$/)
  await loaded(page)
  await page.keyboard.press('/')
  await expect(page.getByRole('searchbox', { name: /^Search features/ })).toBeFocused()
  await page.keyboard.press('ArrowDown')
  await expect(row(page, 0).locator('a')).toBeFocused()
  await page.keyboard.press('ArrowDown')
  await expect(row(page, 1).locator('a')).toBeFocused()
  await page.keyboard.press('Enter')
  await expect(page).toHaveURL(/\/features\/\d+$/)

  await expect(page.locator('[data-example]').first()).toBeVisible()
  await page.keyboard.press('j')
  await expect(page.locator('[data-example]').first()).toBeFocused()
  await page.keyboard.press('?')
  await expect(page.getByRole('dialog', { name: 'Help' })).toBeVisible()
  await page.keyboard.press('Escape')
  await page.keyboard.press('g')
  await page.keyboard.press('h')
  await expect(page).toHaveURL(/\/\?sort=position$/)
  await page.keyboard.press('g')
  await page.keyboard.press('b')
  await expect(page).toHaveURL(/\/bench$/)
})

test('the focus is always visible', async ({ page }) => {
  for (const path of ['/', '/features']) {
    await page.goto(path)
    await loaded(page)
    const unseen: string[] = []
    for (let i = 0; i < 30; i++) {
      await page.keyboard.press('Tab')
      const fault = await page.evaluate(() => {
        const element = document.activeElement
        if (!element || element === document.body) return ''
        const drawn = (at: Element | null) => at !== null && getComputedStyle(at).outlineStyle !== 'none'
        const thumb = element.matches('[type=range]') // its thumb carries the outline
        return drawn(element) || drawn(element.closest('.field')) || thumb ? '' : element.outerHTML.slice(0, 120)
      })
      if (fault) unseen.push(fault)
    }
    expect(unseen).toEqual([])
  }
})
