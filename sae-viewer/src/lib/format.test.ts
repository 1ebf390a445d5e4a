import { describe, expect, it } from 'vitest'
import { classLook, className } from './classes'
import { count, counted, inPoints, metricUnit, metricValue, number, percent, rarity, signed, when } from './format'

describe('number', () => {
  it.each([
    [0, '0'],
    [0.054068, '0.0541'],
    [0.00361, '0.00361'],
    [3.25441, '3.25'],
    [10.44, '10.4'],
    [127.294, '127'],
    [12345, '12,300'],
    [0.9999, '1.00'],
    [-2.5, '−2.50'],
    [0.000054, '5.4e−5'],
    [2.5e12, '2.5e12'],
  ])('%f → %s', (x, text) => expect(number(x)).toBe(text))
})

describe('counts, shares and times', () => {
  it('group thousands and agree in number', () => {
    expect(count(2377)).toBe('2,377')
    expect(counted(1, 'headline')).toBe('1 headline')
    expect(counted(0, 'feature')).toBe('0 features')
  })
  it('keep two digits of a small share', () => {
    const shares = [0, 0.168, 0.0099, 0.000024, 2e-9]
    expect(shares.map(rarity)).toEqual(['0.0 %', '16.8 %', '0.99 %', '0.0024 %', '<0.00001 %'])
  })
  it('give a change in percentage points its sign', () => expect([0.0123, -0.5, 0].map(inPoints)).toEqual(['+1.23', '−50.00', '+0.00']))
  it('give an effect its sign', () => expect([0.41, -2.3, 0].map(signed)).toEqual(['+0.410', '−2.30', '0']))
  it('never round a share to none or all', () => {
    expect([0, 0.0001, 0.057, 0.9749, 0.99999, 1].map(percent)).toEqual([
      '0.0 %', '<0.1 %', '5.7 %', '97.5 %', '>99.9 %', '100.0 %',
    ])
  })
  it('keep text that is no time', () => {
    expect(when('yesterday')).toBe('yesterday')
    expect(when('2026-11-24T00:04:52+00:00')).toMatch(/Nov 2026/)
  })
})

describe('metrics', () => {
  it('have units for the metrics of the pipeline and none for the user’s own', () => {
    expect(['mean_activation', 'max_activation', 'entropy', 'kurtosis', 'my_metric'].map(metricUnit)).toEqual([
      'f', 'f', 'bits', '', '',
    ])
    expect(metricValue('fraction_active', 0.0577)).toBe('5.8 %')
    expect(metricValue('my_metric', 0.0577)).toBe('0.0577')
    expect(metricValue('found_in_seeds', 2)).toBe('2')
  })
})

describe('classes', () => {
  const labels = ['Bearish', 'Bullish', 'Neutral']
  it('differ by colour and by shape', () => {
    const looks = labels.map((_, i) => classLook(labels, i))
    expect(new Set(looks.map(({ color }) => color)).size).toBe(3)
    expect(new Set(looks.map(({ shape }) => shape)).size).toBe(3)
  })
  it('mean the same in any order and under the usual names', () => {
    expect(classLook(['positive', 'negative', 'neutral'], 0)).toEqual(classLook(labels, 1))
    expect(classLook(['positive', 'negative', 'neutral'], 1)).toEqual(classLook(labels, 0))
  })
  it('of other names differ too, and an unknown one has a name', () => {
    const other = ['A', 'B', 'C']
    expect(new Set(other.map((_, i) => classLook(other, i).shape)).size).toBe(3)
    expect(className(labels, 7)).toBe('class 7')
  })
})
