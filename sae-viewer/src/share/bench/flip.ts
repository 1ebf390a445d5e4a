/** The greedy search of `sae_pipeline/causal/flips.py` for one text. */

import type { BenchModel } from './model'
import { argmax, shifted, toLevel, type Group, type Reading } from './reading'

const CANDIDATES = 32
const PATIENCE_MS = 10_000

/** The groups whose setting to `level` changes the prediction, in their order, and the logits after each; undefined for none. */
export async function flip(
  model: BenchModel,
  reading: Reading,
  logits: number[],
  effects: number[][],
  target: number | undefined,
  level: number,
  maxSize: number,
): Promise<{ groups: Group[]; logits: number[][] } | undefined> {
  const first = argmax(logits)
  const deadline = performance.now() + PATIENCE_MS

  const logitsOf = (trials: number[][]) =>
    model.logits(trials.map((trial) => shifted(model, reading.hidden, trial.flatMap((g) => toLevel(reading.groups[g] as Group, level)))))

  /** How far each trial is beyond the goal, in logits; above 0 it is reached. */
  async function margins(trials: number[][]): Promise<number[]> {
    return (await logitsOf(trials)).map((row) => {
      const wanted = target ?? first
      const own = row[wanted] ?? 0
      const others = Math.max(...row.filter((_, c) => c !== wanted))
      return target === undefined ? others - own : own - others
    })
  }

  let pool = candidates(logits, effects, first, target)
  if (pool.length === 0) return undefined
  const [reach = 0] = await margins([pool])
  let chosen: number[] = []
  let done: number[] | undefined
  while (!done && pool.length > 0 && chosen.length < maxSize && performance.now() < deadline) {
    const trials = pool.map((g) => [...chosen, g])
    const found = await margins(trials)
    const ranked = [...trials.keys()].sort((a, b) => (found[b] ?? 0) - (found[a] ?? 0) || a - b)
    if ((found[ranked[0] ?? 0] ?? 0) > 0) done = trials[ranked[0] ?? 0]
    const grow = Math.min(Math.max(1, Math.floor(chosen.length / 3)), maxSize - chosen.length)
    const joining = ranked.slice(0, grow).map((i) => pool[i] as number)
    chosen = [...chosen, ...joining]
    pool = pool.filter((g) => !joining.includes(g))
    if (!(reach > 0)) break
  }
  if (!done && chosen.length > 1) {
    const [last = 0] = await margins([chosen])
    if (last > 0) done = chosen
  }
  if (!done) return undefined
  const needed = await pruned(done, margins)
  return {
    groups: needed.map((g) => reading.groups[g] as Group),
    logits: await logitsOf(needed.map((_, k) => needed.slice(0, k + 1))),
  }
}

/** A set without the members that the goal does not need, the least needed first. */
async function pruned(set: number[], margins: (trials: number[][]) => Promise<number[]>): Promise<number[]> {
  if (set.length < 2) return set
  const trials = set.map((left) => set.filter((g) => g !== left))
  const found = await margins(trials)
  const best = argmax(found)
  return (found[best] ?? 0) > 0 ? pruned(trials[best] ?? [], margins) : set
}

/** The groups whose effects hold the prediction up most against the target, or against the second class. */
function candidates(logits: number[], effects: number[][], first: number, target: number | undefined): number[] {
  const second = [...logits.keys()].sort((a, b) => (logits[b] ?? 0) - (logits[a] ?? 0)).at(1) ?? first
  const rival = target === undefined || target === first ? second : target
  const key = effects.map((effect) => (effect[first] ?? 0) - (effect[rival] ?? 0))
  return [...key.keys()]
    .sort((a, b) => (key[b] ?? 0) - (key[a] ?? 0) || a - b)
    .slice(0, CANDIDATES)
    .filter((g) => (key[g] ?? 0) > 0)
}
