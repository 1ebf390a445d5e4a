/** The comparison of a classifier's layers, as the charts and the table show it. */

import type { LayersFile } from '../interpAPI'
import type { Row } from './download'
import { percent } from './format'

export type LayerFigures = LayersFile['layers'][number]
export type Measured = LayerFigures['probe_words']

/** A figure of each layer that has it. */
export interface Line {
  name: string
  points: { layer: number; measured: Measured }[]
}

export interface LayerChart {
  title: string
  caption: string
  lines: Line[]
  /** Levels that do not depend on the layer. */
  rules: { name: string; level: number }[]
}

/** Charts of where the decision is, what a probe finds, and what the SAEs lose; the last one needs SAEs at two layers. */
export function layerCharts({ layers, accuracy, majority }: LayersFile): LayerChart[] {
  const line = (name: string, figure: (one: LayerFigures) => Measured | undefined): Line => ({
    name,
    points: layers.flatMap((one) => {
      const measured = figure(one)
      return measured ? [{ layer: one.layer, measured }] : []
    }),
  })
  const charts: LayerChart[] = [
    {
      title: 'Predictions that change without …',
      caption: 'The layer’s output at all words, or at the first token, is replaced by its mean over the train headlines.',
      lines: [line('words', (one) => one.changed_words), line('[CLS]', (one) => one.changed_cls)],
      rules: [],
    },
    {
      title: 'Accuracy of a probe on …',
      caption: 'A logistic regression on the mean over the words, or on the first token. Dotted lines: the classifier itself, and always answering the most frequent class.',
      lines: [line('words', (one) => one.probe_words), line('[CLS]', (one) => one.probe_cls)],
      rules: [
        { name: 'classifier', level: accuracy },
        { name: 'most frequent class', level: majority },
      ],
    },
  ]
  if (layers.filter(({ sae }) => sae).length > 1) {
    charts.push({
      title: 'What the SAE loses',
      caption: 'The share of variance that the SAE leaves unexplained (FVU), and the share of predictions that change when its reconstruction is spliced in.',
      lines: [line('variance', ({ sae }) => sae?.fvu), line('predictions', ({ sae }) => (sae ? complement(sae.unchanged) : undefined))],
      rules: [],
    })
  }
  return charts
}

/** 1 − share, with its interval. */
export function complement({ value, low, high }: Measured): Measured {
  return { value: 1 - value, low: high == null ? null : 1 - high, high: low == null ? null : 1 - low }
}

/** The lowest and the highest level of a chart, intervals included. */
export function range({ lines, rules }: LayerChart): [number, number] {
  const levels = lines.flatMap(({ points }) => points.flatMap(({ measured: { value, low, high } }) => [low ?? value, high ?? value]))
  const all = [...levels, ...rules.map(({ level }) => level)]
  return [Math.min(...all), Math.max(...all)]
}

/** The interval of a share as words; empty where there is none. */
export function ends({ low, high }: Measured): string {
  return low == null || high == null ? '' : `${percent(low)} to ${percent(high)}`
}

/** A row for each layer. */
export function layerRows({ layers }: LayersFile): Row[] {
  return layers.map(({ layer, sae, ...shares }) => ({
    layer,
    ...Object.fromEntries(Object.entries(shares).flatMap(([name, measured]) => cells(name, measured))),
    sae: sae?.size ?? '',
    sae_hash: sae?.sae_hash ?? '',
    ...(sae ? Object.fromEntries([...cells('l0', sae.l0), ...cells('fvu', sae.fvu), ...cells('unchanged', sae.unchanged)]) : {}),
  }))
}

function cells(name: string, { value, low, high }: Measured): [string, number | string][] {
  return [
    [name, value],
    [`${name}_low`, low ?? ''],
    [`${name}_high`, high ?? ''],
  ]
}
