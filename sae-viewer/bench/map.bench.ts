/** Measures how fast the map is drawn while it is dragged, and writes `build/bench-map.json`. */

import { mkdirSync, writeFileSync } from 'node:fs'
import { expect, test } from '../e2e/api'

const DRAG_MS = 4_000

declare global {
  interface Window {
    drawn: { frames: number[]; calls: number; busy: number[]; renderer: string }
  }
}

/** Counts the calls that draw, the frames in which there are some, and the time that scripts take in each frame. */
function watch(): void {
  const drawn = (window.drawn = { frames: [] as number[], calls: 0, busy: [] as number[], renderer: '' })
  const gl = WebGL2RenderingContext.prototype
  for (const name of ['drawArrays', 'drawElements', 'drawArraysInstanced', 'drawElementsInstanced'] as const) {
    // eslint-disable-next-line @typescript-eslint/unbound-method -- it is called with its context
    const draw = gl[name] as (this: WebGL2RenderingContext, ...rest: unknown[]) => void
    Object.assign(gl, {
      [name](this: WebGL2RenderingContext, ...rest: unknown[]) {
        drawn.calls++
        drawn.renderer ||= String(this.getParameter(this.getExtension('WEBGL_debug_renderer_info')?.UNMASKED_RENDERER_WEBGL ?? this.RENDERER))
        draw.apply(this, rest)
      },
    })
  }
  const ask = window.requestAnimationFrame.bind(window)
  window.requestAnimationFrame = (callback) =>
    ask((at) => {
      const [calls, started] = [drawn.calls, performance.now()]
      callback(at)
      if (drawn.calls === calls) return
      drawn.frames.push(performance.now())
      drawn.busy.push(performance.now() - started)
    })
}

test('the map of 32,768 features is dragged', async ({ page, api }) => {
  const { features } = await api.get('/api/map', {})
  await page.addInitScript(watch)
  await page.goto('/map')
  const plane = page.getByTestId('plane')
  await expect(plane.locator('canvas')).toBeVisible()
  await page.waitForTimeout(2_000)
  const box = (await plane.boundingBox()) ?? { x: 0, y: 0, width: 0, height: 0 }
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2]
  await page.mouse.move(x, y)
  await page.mouse.down()
  await page.evaluate(() => Object.assign(window.drawn, { frames: [], busy: [], calls: 0 }))
  const started = Date.now()
  for (let i = 0; Date.now() - started < DRAG_MS; i++) await page.mouse.move(x + 150 * Math.sin(i / 20), y + 100 * Math.cos(i / 30))
  const { frames, busy, calls, renderer } = await page.evaluate(() => window.drawn)
  await page.mouse.up()
  const seconds = ((frames.at(-1) ?? 0) - (frames[0] ?? 0)) / 1000
  const middle = (values: number[]) => values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)] ?? Number.NaN
  const found = {
    map_features: features.length,
    map_fps: Math.round((10 * (frames.length - 1)) / seconds) / 10,
    map_script_ms_per_frame: Math.round(100 * middle(busy)) / 100,
    map_draw_calls_per_frame: Math.round((10 * calls) / frames.length) / 10,
    map_renderer: renderer,
  }
  mkdirSync('../build', { recursive: true })
  writeFileSync('../build/bench-map.json', `${JSON.stringify(found)}\n`)
  console.log(JSON.stringify(found)) // eslint-disable-line no-console -- the result of a benchmark
  expect(frames.length).toBeGreaterThan(1)
})
