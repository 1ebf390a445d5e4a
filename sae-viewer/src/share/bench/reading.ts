/** A text read up to the hookpoint, its features, and what setting or removing them does, as `sae_pipeline/causal/` has it. */

import type { BenchModel } from './model'
import type { TokenizedText } from './tokens'

/** A feature where it fires: positions ascending, with the activation f at each. */
export interface Group {
  feature: number
  positions: number[]
  values: number[]
}

/** A text with its hidden states [n_tokens, d_in], counted positions and features. */
export interface Reading {
  tokens: TokenizedText
  hidden: Float32Array
  counted: number[]
  /** f [n_tokens, d_sae]; entries at positions that are not counted mean nothing. */
  f: Float32Array
  /** By feature, ascending. */
  groups: Group[]
}

/** A change of a feature's activation at a position. */
export interface Delta {
  position: number
  feature: number
  delta: number
}

export async function readText(model: BenchModel, tokens: TokenizedText): Promise<Reading> {
  const { hidden, f } = await model.read(tokens.ids)
  const counted = [...tokens.words.keys()].filter((n) => model.facts.positions === 'all' || (tokens.words[n] ?? -1) >= 0)
  if (model.facts.k !== null) for (const position of counted) keepLargest(f.subarray(position * model.dSae, (position + 1) * model.dSae), model.facts.k)
  const groups = new Map<number, Group>()
  for (const position of counted) {
    const row = f.subarray(position * model.dSae, (position + 1) * model.dSae)
    for (const [feature, value] of row.entries()) {
      if (value <= 0) continue
      const group = groups.get(feature) ?? { feature, positions: [], values: [] }
      group.positions.push(position)
      group.values.push(value)
      groups.set(feature, group)
    }
  }
  return { tokens, hidden, counted, f, groups: [...groups.values()].sort((a, b) => a.feature - b.feature) }
}

/** Sets all but the k largest numbers of a row to 0. */
function keepLargest(row: Float32Array, k: number): void {
  const active = [...row.keys()].filter((n) => (row[n] ?? 0) > 0)
  active.sort((a, b) => (row[b] ?? 0) - (row[a] ?? 0) || a - b)
  for (const n of active.slice(k)) row[n] = 0
}

/** The hidden states with activations changed: x' = x + scale · Σ δ · W_dec. */
export function shifted(model: BenchModel, hidden: Float32Array, deltas: readonly Delta[]): Float32Array {
  const changed = hidden.slice()
  for (const { position, feature, delta } of deltas) model.addRow(changed, position * model.width, feature, model.facts.scale * delta)
  return changed
}

/** The changes that set a group to `level` where it fires. */
export function toLevel({ feature, positions, values }: Group, level: number): Delta[] {
  return positions.map((position, i) => ({ position, feature, delta: level - (values[i] ?? 0) }))
}

/** The reading's hidden states with the SAE's reconstruction at the counted positions. */
export function spliced(model: BenchModel, reading: Reading): Float32Array {
  const { mean, scale, b_dec } = model.facts
  const rebuilt = reading.hidden.slice()
  for (const position of reading.counted) {
    for (let i = 0; i < model.width; i++) rebuilt[position * model.width + i] = (mean[i] ?? 0) + scale * (b_dec[i] ?? 0)
  }
  return shifted(model, rebuilt, reading.groups.flatMap(({ feature, positions, values }) => positions.map((position, i) => ({ position, feature, delta: values[i] ?? 0 }))))
}

/** Effects of a reading's features on centred logits. Effects by entry are those of each group at each of its positions. */
export interface Attribution {
  logits: number[]
  /** [n_groups][n_positions of the group][n_classes], gradient × activation. */
  gradient: number[][][]
  /** The same by integrated gradients; `gradient` itself for 0 steps. */
  integrated: number[][][]
  /** Centred logits without any feature; undefined for 0 steps. */
  base: number[] | undefined
}

/** See `sae_pipeline/causal/attribution.py`. */
export async function attribute(model: BenchModel, reading: Reading, steps: number): Promise<Attribution> {
  const { nodes, weights } = gaussLegendre(steps)
  const all = reading.groups.flatMap((group) => toLevel(group, 0))
  const without = shifted(model, reading.hidden, all)
  // x(α) = x − (1−α)·removed, and `without` is x − removed.
  const points = [reading.hidden, ...nodes.map((alpha) => between(without, reading.hidden, alpha))]
  const n = model.nClasses
  const seeds = Array.from({ length: n - 1 }, (_, c) => Array.from({ length: n }, (_, i) => (i === c ? 1 : 0) - 1 / n))
  const found = await model.slopes(points.flatMap((point) => seeds.map(() => point)), points.flatMap(() => seeds))
  const at = (point: number, c: number) => found[point * (n - 1) + c]
  const gradient = effects(model, reading, (c) => at(0, c)?.slopes ?? new Float32Array())
  const logits = at(0, 0)?.logits ?? []
  if (steps === 0) return { logits, gradient, integrated: gradient, base: undefined }
  const mean = (c: number) => {
    const sum = new Float32Array(reading.hidden.length)
    weights.forEach((weight, p) => at(p + 1, c)?.slopes.forEach((slope, i) => (sum[i] = (sum[i] ?? 0) + weight * slope)))
    return sum
  }
  const [base = []] = await model.logits([without])
  return { logits, gradient, integrated: effects(model, reading, mean), base: centred(base) }
}

/** f · ∂c/∂f of every entry and class, from the slopes of all classes but the last; effects on all classes add up to 0. */
function effects(model: BenchModel, reading: Reading, slopes: (c: number) => Float32Array): number[][][] {
  const each = Array.from({ length: model.nClasses - 1 }, (_, c) => slopes(c))
  return reading.groups.map(({ feature, positions, values }) =>
    positions.map((position, i) => {
      const own = each.map((slope) => (values[i] ?? 0) * model.facts.scale * model.along(slope, position * model.width, feature))
      return [...own, -own.reduce((sum, one) => sum + one, 0)]
    }),
  )
}

/** Sums over the positions of each group: [n_groups][n_classes]. */
export function byGroup(entries: number[][][], nClasses: number): number[][] {
  return entries.map((group) => Array.from({ length: nClasses }, (_, c) => group.reduce((sum, entry) => sum + (entry[c] ?? 0), 0)))
}

function between(from: Float32Array, to: Float32Array, share: number): Float32Array {
  return from.map((value, i) => value + share * ((to[i] ?? 0) - value))
}

/** Nodes and weights of a Gauss-Legendre rule on [0, 1], by Newton's method. */
function gaussLegendre(n: number): { nodes: number[]; weights: number[] } {
  const nodes: number[] = []
  const weights: number[] = []
  for (let i = 0; i < n; i++) {
    let x = -Math.cos((Math.PI * (i + 0.75)) / (n + 0.5))
    let slope = 1
    for (let round = 0; round < 20; round++) {
      let [before, value] = [1, x]
      for (let k = 2; k <= n; k++) [before, value] = [value, ((2 * k - 1) * x * value - (k - 1) * before) / k]
      slope = (n * (x * value - before)) / (x * x - 1)
      x -= value / slope
    }
    nodes.push((x + 1) / 2)
    weights.push(1 / ((1 - x * x) * slope * slope))
  }
  return { nodes, weights }
}

export function centred(logits: readonly number[]): number[] {
  const mean = logits.reduce((sum, one) => sum + one, 0) / logits.length
  return logits.map((one) => one - mean)
}

export function softmax(logits: readonly number[]): number[] {
  const most = Math.max(...logits)
  const parts = logits.map((one) => Math.exp(one - most))
  const total = parts.reduce((sum, one) => sum + one, 0)
  return parts.map((one) => one / total)
}

export function argmax(values: readonly number[]): number {
  return values.reduce((best, value, n) => (value > (values[best] ?? -Infinity) ? n : best), 0)
}
