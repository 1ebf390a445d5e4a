import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { CLASS_COLORS, classLook, describeProbabilities, isMany, largest, largestConfusions } from './classes'

type Triple = [number, number, number]
const times = (matrix: readonly Triple[], [x, y, z]: Triple): Triple => matrix.map(([a, b, c]) => a * x + b * y + c * z) as Triple

// Björn Ottosson's OKLab (2020).
const LAB_TO_LMS: Triple[] = [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.291485548]]
const LMS_TO_RGB: Triple[] = [[4.0767416621, -3.3077115913, 0.2309699292], [-1.2684380046, 2.6097574011, -0.3413193965], [-0.0041960863, -0.7034186147, 1.707614701]]
const RGB_TO_LMS: Triple[] = [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566], [0.0883024619, 0.2817188376, 0.6299787005]]
const LMS_TO_LAB: Triple[] = [[0.2104542553, 0.793617785, -0.0040720468], [1.9779984951, -2.428592205, 0.4505937099], [0.0259040371, 0.7827717662, -0.808675766]]

/** Linear RGB as people see it who lack one kind of cone: Machado, Oliveira and Fernandes (2009), severity 1. */
const EYES: Record<string, Triple[]> = {
  all: [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
  protanopia: [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
  deuteranopia: [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
  tritanopia: [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}

/** A colour of index.css in the light (0) or dark (1) theme, as linear RGB. */
function rgb(variable: string, theme: 0 | 1): Triple {
  const css = readFileSync('src/index.css', 'utf8')
  const pair: string[] = new RegExp(`${variable}: light-dark\\((.*)\\);`).exec(css)?.[1]?.match(/oklch\([^)]*\)/g) ?? []
  const [l = NaN, chroma = NaN, hue = NaN] = (pair[theme]?.match(/[\d.]+/g) ?? []).map(Number)
  const angle = (hue * Math.PI) / 180
  const lms = times(LAB_TO_LMS, [l, chroma * Math.cos(angle), chroma * Math.sin(angle)])
  return times(LMS_TO_RGB, lms.map((x) => x ** 3) as Triple)
}

const clip = (color: Triple) => color.map((x) => Math.min(1, Math.max(0, x))) as Triple
const oklab = (color: Triple) => times(LMS_TO_LAB, times(RGB_TO_LMS, clip(color)).map(Math.cbrt) as Triple)
const luminance = ([r, g, b]: Triple) => 0.2126 * r + 0.7152 * g + 0.0722 * b

describe.each([['light', 0], ['dark', 1]] as const)('the colours of eight classes, %s', (_, theme) => {
  const colors = CLASS_COLORS.map((color) => rgb(color.slice(4, -1), theme))

  it.each(Object.entries(EYES))('differ for eyes with %s', (_, matrix) => {
    const seen = colors.map((color) => oklab(times(matrix, clip(color))))
    const distances = seen.flatMap((one, i) => seen.slice(i + 1).map((other) => 100 * Math.hypot(...one.map((x, k) => x - (other[k] ?? NaN)))))
    expect(distances).toHaveLength(28)
    expect(Math.min(...distances)).toBeGreaterThan(7) // ΔE in OKLab × 100; 2 is just noticeable
  })

  it('stand out from the paper, 3 to 1', () => {
    for (const paper of ['--color-paper', '--color-raised'].map((variable) => luminance(rgb(variable, theme)))) {
      for (const color of colors.map(luminance)) {
        expect((Math.max(color, paper) + 0.05) / (Math.min(color, paper) + 0.05)).toBeGreaterThan(3)
      }
    }
  })
})

describe('the look of a class', () => {
  it('is that of the sentiment for exactly these names', () => {
    const labels = ['Neutral', 'negative', 'Neurology', 'BULLISH']
    expect(labels.map((_, i) => classLook(labels, i).shape)).toEqual(['bar', 'down', 'disc', 'up'])
    expect(classLook(labels, 0).color).toBe('var(--color-neutral)')
  })

  it.each([2, 5, 8])('is another for each of %i classes', (n) => {
    const labels = Array.from({ length: n }, (_, i) => (i === 1 ? 'Bullish' : `class ${i}`))
    const looks = labels.map((_, i) => classLook(labels, i))
    expect(new Set(looks.map(({ color }) => color)).size).toBe(n)
    expect(new Set(looks.map(({ shape }) => shape)).size).toBe(n)
    expect(looks.every(({ shape }) => shape)).toBe(true)
  })

  it('is the same, without a mark, for all of many classes', () => {
    const labels = ['Bullish', ...Array.from({ length: 8 }, (_, i) => `class ${i}`)]
    expect(isMany(labels)).toBe(true)
    expect(new Set(labels.map((_, i) => JSON.stringify(classLook(labels, i)))).size).toBe(1)
    expect(classLook(labels, 0).shape).toBeUndefined()
  })
})

it('the largest values come first, equal ones in their order', () => {
  expect(largest([0.1, 0.5, 0.1, 0.3], 3)).toEqual([1, 3, 0])
})

it('of many classes the five most probable are named', () => {
  const labels = Array.from({ length: 77 }, (_, i) => `c${i}`)
  const percent = (p: number) => `${Math.round(100 * p)} %`
  expect(describeProbabilities(labels, labels.map((_, i) => i / 100), percent)).toBe('c76 76 %, c75 75 %, c74 74 %, c73 73 %, c72 72 %, 72 other classes')
  expect(describeProbabilities(['a', 'b'], [0.25, 0.75], percent)).toBe('a 25 %, b 75 %')
})

it('the largest confusions lie off the diagonal', () => {
  expect(largestConfusions([[9, 1, 0], [4, 9, 0], [2, 0, 9]], 2)).toEqual([
    { label: 1, prediction: 0, n: 4 },
    { label: 2, prediction: 0, n: 2 },
  ])
})
