/** The greedy search of `sae_pipeline/causal/flips.py` for one text. */

import type { BenchModel } from './model'
import { argmax, shifted, toLevel, type Group, type Reading } from './reading'

const CANDIDATES = 32
const PATIENCE_MS = 10_000

/** A set of groups whose setting to `level` changes the prediction, and the logits after each. */
interface Flip {
  groups: Group[]
  logits: number[][]
}

/** What holds a prediction that no small set changes. */
interface Hold {
  /** Logits by which the goal is missed with all features set to the level. */
  margin: number
  /** Features that it takes in the order of their estimated effects; undefined where neither all nor all that support it suffice. */
  needed: number | undefined
}

/** The smallest set of groups found that changes the prediction, or what holds it. */
export async function flip(
  model: BenchModel,
  reading: Reading,
  logits: number[],
  effects: number[][],
  target: number | undefined,
  level: number,
  maxSize: number,
): Promise<Flip | Hold> {
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

  const { order, support } = ranking(logits, effects, first, target)

  /** A set of at most `maxSize` of these groups, the most promising first, that reaches the goal. */
  async function search(promising: number[]): Promise<number[] | undefined> {
    let pool = promising.slice(0, CANDIDATES)
    const [reach = 0] = pool.length > 0 ? await margins([pool]) : []
    let chosen: number[] = []
    while (pool.length > 0 && chosen.length < maxSize && performance.now() < deadline) {
      const trials = pool.map((g) => [...chosen, g])
      const found = await margins(trials)
      const ranked = [...trials.keys()].sort((a, b) => (found[b] ?? 0) - (found[a] ?? 0) || a - b)
      if ((found[ranked[0] ?? 0] ?? 0) > 0) return trials[ranked[0] ?? 0]
      const grow = Math.min(Math.max(1, Math.floor(chosen.length / 3)), maxSize - chosen.length)
      const joining = ranked.slice(0, grow).map((i) => pool[i] as number)
      chosen = [...chosen, ...joining]
      pool = pool.filter((g) => !joining.includes(g))
      if (!(reach > 0)) break
    }
    const last = [chosen, promising.slice(0, maxSize)].filter((set) => set.length > 1)
    const found = last.length > 0 ? await margins(last) : []
    return last[found.findIndex((margin) => margin > 0)]
  }

  let done = await search(order.slice(0, support))
  if (!done && support < Math.min(maxSize, order.length)) done = await search(order.slice(0, maxSize))
  if (!done) return hold(order, support, maxSize, margins)
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

/** What holds the prediction, with the number of features bisected as in `holds` of `flips.py`. */
async function hold(order: number[], support: number, maxSize: number, margins: (trials: number[][]) => Promise<number[]>): Promise<Hold> {
  const [all = 0, supporting = 0] = await margins([order, order.slice(0, support)])
  if (!(all > 0 || supporting > 0)) return { margin: -all, needed: undefined }
  let low = Math.min(maxSize, order.length)
  let high = supporting > 0 ? support : order.length
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2)
    const [margin = 0] = await margins([order.slice(0, middle)])
    if (margin > 0) high = middle
    else low = middle
  }
  return { margin: -all, needed: high }
}

/** All groups, those first that hold the prediction up most against the target, or against the second class, and how many do. */
function ranking(logits: number[], effects: number[][], first: number, target: number | undefined): { order: number[]; support: number } {
  const second = [...logits.keys()].sort((a, b) => (logits[b] ?? 0) - (logits[a] ?? 0)).at(1) ?? first
  const rival = target === undefined || target === first ? second : target
  const key = effects.map((effect) => (effect[first] ?? 0) - (effect[rival] ?? 0))
  const order = [...key.keys()].sort((a, b) => (key[b] ?? 0) - (key[a] ?? 0) || a - b)
  return { order, support: key.filter((one) => one > 0).length }
}
