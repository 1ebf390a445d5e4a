/** All views of the viewer, for tests and screenshots of each. */

import type { Page } from '@playwright/test'
import { expect, type Api } from './api'

export interface View {
  name: string
  path: string
  /** Waits until the view is complete. */
  ready: (page: Page) => Promise<void>
}

const heading = (name: string | RegExp) => (page: Page) => expect(page.getByRole('heading', { name }).first()).toBeVisible()
const list = async (page: Page) => expect(page.locator('[data-index="0"]').locator('article, a').first()).toBeVisible()
const panel = (text: string | RegExp) => async (page: Page) => {
  await expect(page.getByRole('dialog')).toBeVisible()
  await expect(page.getByRole('dialog').getByText(text).first()).toBeVisible()
  await expect(page.getByRole('dialog').locator('.skeleton')).toHaveCount(0)
}

export async function allViews(api: Api): Promise<View[]> {
  const { feature } = await api.topFeature()
  const { run_id } = await api.run()
  const { runs } = await api.runs()
  const other = runs.find((one) => one.run_id !== run_id && one.readable)?.run_id
  return [
    { name: 'headlines', path: '/', ready: list },
    { name: 'headline-open', path: '/?open=0', ready: list },
    { name: 'no-headline', path: '/?q=nosuchword', ready: (page) => expect(page.getByText('No headline matches')).toBeVisible() },
    { name: 'features', path: '/features', ready: list },
    { name: 'feature', path: `/features/${feature}`, ready: heading(`Feature ${feature}`) },
    { name: 'card', path: `/features/${feature}/card`, ready: heading('Made from') },
    { name: 'bench', path: '/bench', ready: (page) => expect(page.getByRole('region', { name: 'Examples to try' }).getByRole('link')).toHaveCount(3) },
    { name: 'map', path: '/map', ready: (page) => expect(page.getByRole('list', { name: 'Features' }).getByRole('link').first()).toBeVisible() },
    { name: 'no-feature', path: '/features/99999999', ready: (page) => expect(page.getByText(/There is no feature/)).toBeVisible() },
    { name: 'runs', path: '/?panel=runs', ready: panel(run_id) },
    { name: 'quality', path: '/?panel=quality', ready: panel('How often features fire') },
    { name: 'compare', path: other ? `/?compare=${other}` : '/?panel=compare', ready: panel(other ? 'The same headline' : 'There is no other run') },
    { name: 'labels', path: '/?panel=labels', ready: panel(/annotation/) },
    { name: 'no-page', path: '/somewhere', ready: (page) => expect(page.getByText('There is no page')).toBeVisible() },
  ]
}
