/** The bench of a shared run: the answers of `viz_analysis/live/live_model.py`, computed in the browser. */

import type { Flip, Intervention, LiveFeature, LivePrediction, Probe } from '../../interpAPI'
import { refusal, type Facts } from '../shared'
import { flip } from './flip'
import { BenchModel } from './model'
import { argmax, attribute, byGroup, centred, readText, shifted, softmax, spliced, toLevel, type Attribution, type Delta, type Group, type Reading } from './reading'
import type { TokenizedText } from './tokens'

const TEXTS_KEPT = 32

interface TextRead {
  reading: Promise<Reading>
  /** By steps. */
  attributions: Map<number, Promise<Attribution>>
}

interface Edit {
  feature: number
  operation?: 'ablate' | 'scale' | 'clamp' | 'add'
  value?: number
  positions?: number[] | null
}
interface ProbeBody {
  text: string
  top?: number
  steps?: number
  ablate?: number
}
interface InterveneBody {
  text: string
  edits: Edit[]
  separately?: boolean
}
interface FlipBody {
  text: string
  target?: number | null
  level?: number
  max_size?: number
}

export class Bench {
  private readonly read = new Map<string, TextRead>()

  private constructor(
    private readonly model: BenchModel,
    private readonly facts: Facts,
  ) {}

  static async open(place: string, facts: Facts): Promise<Bench> {
    return new Bench(await BenchModel.load(new URL(`${place}/`, document.baseURI), facts.labels.length), facts)
  }

  async probe({ text, top = 10, steps = 0, ablate = 0 }: ProbeBody): Promise<Probe> {
    const started = performance.now()
    const { model } = this
    const [reading, attribution] = await this.attributed(text, steps)
    const { logits, integrated } = attribution
    const predicted = argmax(logits)
    const effects = byGroup(integrated, model.nClasses)
    const ranked = [...effects.keys()].sort((a, b) => Math.abs(effects[b]?.[predicted] ?? 0) - Math.abs(effects[a]?.[predicted] ?? 0) || a - b)
    const listed = ranked.slice(0, top)
    const ablated = listed.slice(0, ablate)
    const after = await model.logits(ablated.map((g) => shifted(model, reading.hidden, toLevel(groupOf(reading, g), 0))))
    const features = listed.map((g, i): LiveFeature => this.feature(reading, attribution, g, effects[g] ?? [], after[i]))
    const rest = attribution.base?.map((base, c) => (centred(logits)[c] ?? 0) - base - listed.reduce((sum, g) => sum + (effects[g]?.[c] ?? 0), 0))
    const tokenEffects = new Array<number>(reading.tokens.ids.length).fill(0)
    reading.groups.forEach(({ positions }, g) => positions.forEach((position, i) => (tokenEffects[position] = (tokenEffects[position] ?? 0) + (integrated[g]?.[i]?.[predicted] ?? 0))))
    const rebuilt = steps > 0 ? (await model.logits([spliced(model, reading)]))[0] : undefined
    const { tokens, starts, ends, words } = reading.tokens
    return {
      ...prediction(logits),
      ...this.run,
      text,
      tokens,
      starts,
      ends,
      words,
      n_active: effects.length,
      estimate: steps > 0 ? 'integrated' : 'gradient',
      base: attribution.base ?? null,
      rest: rest ?? null,
      features,
      found_names: {},
      spliced: rebuilt ? prediction(rebuilt) : null,
      token_effects: tokenEffects,
      milliseconds: performance.now() - started,
    }
  }

  async intervene({ text, edits, separately = false }: InterveneBody): Promise<Intervention> {
    const started = performance.now()
    const { model } = this
    this.check(edits)
    const reading = await this.text(text).reading
    const together = this.edited(reading, edits)
    const changes = separately ? edits.map((edit) => this.edited(reading, [edit])) : [together]
    const deltas = (changed: typeof together) => changed.flatMap(({ feature, old, now }) => reading.counted.map((position, i): Delta => ({ position, feature, delta: (now[i] ?? 0) - (old[i] ?? 0) })))
    const [before = [], ...after] = await model.logits([reading.hidden, ...changes.map((changed) => shifted(model, reading.hidden, deltas(changed).filter(({ delta }) => delta !== 0)))])
    const shown = together.map(({ feature, old, now }) => {
      const fires = [...reading.counted.keys()].filter((i) => (old[i] ?? 0) > 0 || now[i] !== 0)
      const at = <T>(values: readonly T[]) => fires.map((i) => values[i] as T)
      return { feature, positions: at(reading.counted), before: at(old), after: at(now) }
    })
    return {
      ...this.run,
      before: prediction(before),
      after: after.map(prediction),
      edited: separately ? [] : shown,
      milliseconds: performance.now() - started,
    }
  }

  async flip({ text, target, level = 0, max_size = 20 }: FlipBody): Promise<Flip> {
    const started = performance.now()
    const { labels } = this.facts
    const [reading, { logits, gradient }] = await this.attributed(text, 0)
    const before = prediction(logits)
    if (target != null && !labels[target]) throw refusal(400, 'bad_request', `There is no class ${target}; the classifier has classes 0 to ${labels.length - 1}.`)
    if (target === before.prediction) throw refusal(400, 'bad_request', `The prediction is ${labels[before.prediction]} already; choose another target.`)
    const beyond = gradient.map((group, g) => group.map((entry, i) => entry.map((effect) => effect * (1 - level / (groupOf(reading, g).values[i] ?? 1)))))
    const found = await flip(this.model, reading, logits, byGroup(beyond, labels.length), target ?? undefined, level, max_size)
    const goal = target == null ? 'the prediction' : `the prediction to ${labels[target]}`
    const answer = { ...this.run, before }
    if (!('groups' in found)) {
      const place = target == null ? `it is ${found.margin.toFixed(2)} logits ahead` : `${labels[target]} is ${found.margin.toFixed(2)} logits behind`
      const base = `even with all features ${level === 0 ? 'ablated' : `set to ${level}`}, ${place}, because of what the SAE does not reconstruct and of its bias`
      const why = found.needed === undefined ? base : `it takes ${found.needed} in the order of their estimated effects`
      const message = `No set of up to ${max_size} features was found that changes ${goal}: ${why}.`
      return { ...answer, found: false, message, steps: [], milliseconds: performance.now() - started }
    }
    const n = found.groups.length
    const features = `${n} feature${n === 1 ? '' : 's'}`
    const change = level === 0 ? `Ablating ${features}` : `Setting ${features} to ${level}`
    return {
      ...answer,
      found: true,
      message: `${change} changes ${goal}.`,
      steps: found.groups.map((group, i) => ({ feature: group.feature, word: wordAt(reading.tokens, strongest(group)), after: prediction(found.logits[i] ?? []) })),
      milliseconds: performance.now() - started,
    }
  }

  // --- parts of answers ---

  private get run() {
    return { run_id: this.facts.run_id, labels: this.facts.labels }
  }

  /** A text that is read once, however often it is edited. */
  private text(text: string): TextRead {
    const kept = this.read.get(text)
    if (kept) {
      this.read.delete(text)
      this.read.set(text, kept)
      return kept
    }
    const { strip_links, max_length } = this.model.facts
    const tokens = this.model.tokenizer.read(text, strip_links)
    if (tokens.ids.length > max_length) {
      throw refusal(400, 'bad_request', `The text has ${tokens.ids.length.toLocaleString('en')} tokens; the classifier reads ${max_length}: shorten it.`)
    }
    if (!tokens.words.some((word) => word >= 0)) throw refusal(400, 'bad_request', 'The text has no word that the classifier reads; write a headline.')
    const read = { reading: readText(this.model, tokens), attributions: new Map<number, Promise<Attribution>>() }
    this.read.set(text, read)
    read.reading.catch(() => this.read.delete(text))
    for (const oldest of this.read.keys()) {
      if (this.read.size <= TEXTS_KEPT) break
      this.read.delete(oldest)
    }
    return read
  }

  private async attributed(text: string, steps: number): Promise<[Reading, Attribution]> {
    const read = this.text(text)
    const reading = await read.reading
    const known = read.attributions.get(steps) ?? attribute(this.model, reading, steps)
    read.attributions.set(steps, known)
    return [reading, await known]
  }

  /** A feature's effects; `after` are the logits once it is ablated, where that was measured. */
  private feature(reading: Reading, { logits, integrated }: Attribution, g: number, effects: number[], after: number[] | undefined): LiveFeature {
    const group = groupOf(reading, g)
    const position = strongest(group)
    const predicted = argmax(logits)
    const [was, is] = [prediction(logits), after && prediction(after)]
    return {
      feature: group.feature,
      activation: Math.max(...group.values),
      position,
      token: reading.tokens.tokens[position] ?? '',
      word: wordAt(reading.tokens, position),
      positions: group.positions,
      values: group.values,
      effects,
      position_effects: (integrated[g] ?? []).map((entry) => entry[predicted] ?? 0),
      ablation: is
        ? {
            logits: was.logits.map((logit, c) => logit - (is.logits[c] ?? 0)),
            probabilities: was.probabilities.map((share, c) => share - (is.probabilities[c] ?? 0)),
            prediction: is.prediction,
          }
        : null,
    }
  }

  private check(edits: Edit[]): void {
    const { max_edits } = this.model.facts
    if (edits.length > max_edits) throw refusal(400, 'bad_request', `${edits.length} edits are too many; make at most ${max_edits} at once.`)
    const wrong = edits.find(({ feature }) => feature >= this.model.dSae)
    if (wrong) throw refusal(400, 'bad_request', `There is no feature ${wrong.feature}; this SAE has features 0 to ${this.model.dSae - 1}.`)
  }

  /** The features that edits name, ascending, with their activations at the counted positions before and after. */
  private edited(reading: Reading, edits: Edit[]): { feature: number; old: number[]; now: number[] }[] {
    const features = [...new Set(edits.map(({ feature }) => feature))].sort((a, b) => a - b)
    return features.map((feature) => {
      const old = reading.counted.map((position) => reading.f[position * this.model.dSae + feature] ?? 0)
      let now = old
      for (const edit of edits.filter((one) => one.feature === feature)) {
        now = now.map((f, i) => (edit.positions && !edit.positions.includes(reading.counted[i] ?? -1) ? f : apply(edit, f)))
      }
      return { feature, old, now }
    })
  }
}

function apply({ operation = 'ablate', value = 0 }: Edit, f: number): number {
  switch (operation) {
    case 'ablate':
      return 0
    case 'scale':
      return f * value
    case 'clamp':
      return value
    case 'add':
      return f + value
  }
}

function groupOf(reading: Reading, g: number): Group {
  const group = reading.groups[g]
  if (!group) throw new Error(`no group ${g}`)
  return group
}

/** The first position at which a feature fires most. */
function strongest({ positions, values }: Group): number {
  return positions[argmax(values)] ?? 0
}

/** The whole word, as written, of the token at a position; the token itself where it is special. */
function wordAt({ text, tokens, starts, ends, words }: TokenizedText, position: number): string {
  const word = words[position] ?? -1
  if (word < 0) return tokens[position] ?? ''
  const members = [...words.keys()].filter((i) => words[i] === word)
  return Array.from(text)
    .slice(starts[members[0] ?? 0], ends[members.at(-1) ?? 0])
    .join('')
}

function prediction(logits: number[]): LivePrediction {
  return { prediction: argmax(logits), probabilities: softmax(logits), logits: centred(logits) }
}
