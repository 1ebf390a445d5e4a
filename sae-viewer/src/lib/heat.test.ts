import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { HEAT_STEPS, heatStep } from './heat'

describe('heatStep', () => {
  it('gives silence no colour and the weakest activation the first step', () => {
    expect(heatStep(0, 5)).toBe(0)
    expect(heatStep(-1, 5)).toBe(0)
    expect(heatStep(NaN, 5)).toBe(0)
    expect(heatStep(1, 0)).toBe(0)
    expect(heatStep(1e-9, 5)).toBe(1)
  })
  it('cuts 0 to max into equal steps', () => {
    const steps = Array.from({ length: HEAT_STEPS }, (_, i) => heatStep(((i + 1) * 4) / HEAT_STEPS, 4))
    expect(steps).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
    expect(heatStep(4 / HEAT_STEPS + 1e-6, 4)).toBe(2)
    expect(heatStep(9, 4)).toBe(8)
  })
})

// The colours are read from the style sheet and compared by lightness and contrast.

type Theme = 0 | 1 // light, dark
const css = readFileSync('src/index.css', 'utf8')

/** The CSS variable's [lightness, chroma, hue] in a theme. */
function color(name: string, theme: Theme): [number, number, number] {
  const value = new RegExp(`--${name}: ([^;]+);`).exec(css)?.[1]
  if (!value) throw new Error(`index.css has no --${name}`)
  const variable = value.startsWith('light-dark(var') ? [...value.matchAll(/var\(--([\w-]+)\)/g)][theme]?.[1] : undefined
  const single = /^var\(--([\w-]+)\)$/.exec(value)?.[1]
  if (variable ?? single) return color(variable ?? single ?? '', theme)
  const found = [...value.matchAll(/oklch\(([\d.]+) ([\d.]+) ([\d.]+)\)/g)]
  const [, l, c, h] = found[found.length > 1 ? theme : 0] ?? []
  return [Number(l), Number(c), Number(h)]
}

/** Relative luminance (WCAG) of an OKLCH colour, clipped to sRGB. */
function luminance([l, c, h]: [number, number, number]): number {
  const a = c * Math.cos((h * Math.PI) / 180)
  const b = c * Math.sin((h * Math.PI) / 180)
  const L = (l + 0.3963377774 * a + 0.2158037573 * b) ** 3
  const M = (l - 0.1055613458 * a - 0.0638541728 * b) ** 3
  const S = (l - 0.0894841775 * a - 1.291485548 * b) ** 3
  const clip = (x: number) => Math.min(1, Math.max(0, x))
  const red = clip(4.0767416621 * L - 3.3077115913 * M + 0.2309699292 * S)
  const green = clip(-1.2684380046 * L + 2.6097574011 * M - 0.3413193965 * S)
  const blue = clip(-0.0041960863 * L - 0.7034186147 * M + 1.707614701 * S)
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue
}

function contrast(one: [number, number, number], other: [number, number, number]): number {
  const [low = 0, high = 0] = [luminance(one), luminance(other)].sort((x, y) => x - y)
  return (high + 0.05) / (low + 0.05)
}

const inkOf = (step: number) => (step <= 5 ? 'heat-ink-low' : step === 6 ? 'heat-ink-6' : 'heat-ink-high')

describe.each([['light', 0], ['dark', 1]] as const)('colours, %s', (_, theme) => {
  it('heat grows away from the paper, step by step', () => {
    const paper = color('color-paper', theme)[0]
    const steps = Array.from({ length: HEAT_STEPS }, (_, i) => Math.abs(color(`heat-${i + 1}`, theme)[0] - paper))
    expect(steps).toEqual([...steps].sort((x, y) => x - y))
    const gaps = steps.map((step, i) => step - (steps[i - 1] ?? 0))
    expect(Math.min(...gaps)).toBeGreaterThan(0.03)
  })
  it.each([1, 2, 3, 4, 5, 6, 7, 8])('text on heat %i is readable', (step) => {
    expect(contrast(color(`heat-${step}`, theme), color(inkOf(step), theme))).toBeGreaterThan(4.5)
  })
  it.each(['ink', 'soft', 'faint', 'plum', 'correct', 'wrong'])('%s is readable on every surface', (ink) => {
    for (const surface of ['paper', 'raised', 'sunk']) {
      expect(contrast(color(`color-${ink}`, theme), color(`color-${surface}`, theme))).toBeGreaterThan(4.5)
    }
  })
  it.each(['bearish', 'bullish', 'neutral', 'edge'])('%s marks stand out from the paper', (mark) => {
    expect(contrast(color(`color-${mark}`, theme), color('color-paper', theme))).toBeGreaterThan(3)
  })
})
