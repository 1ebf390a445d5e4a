/** Searching, sorting and describing features, as `viz_analysis/runs/feature_list.py` and its neighbours do it. */

import type { FeatureInfo, FeatureRow, FeaturesPage, FeaturesQuery, Headline, LabelsAnswer, MetricInfo, Prompt } from '../interpAPI'
import { inSlice } from './columns'
import { headlinesOf, type Posting } from './headlines'
import { keep, maskOf, quoted, refusal, type Row, type SharedRun } from './shared'

type Effects = [headline: number, features: number[], effects: number[][]]

/** The metrics of a list: their values over all features, and the effects where it is about a slice. */
interface Columns {
  metrics: MetricInfo[]
  values: (metric: string) => Promise<number[]>
  added: Record<string, number[]>
  n_slice: number | null
  effects: { means: Map<number, number[]>; counts: Map<number, number> } | null
}

const SLICE_METRICS: MetricInfo[] = [
  {
    name: 'slice_rate',
    label: 'Slice rate',
    description: 'Share of the slice\'s headlines that have it among their strongest features.',
  },
  {
    name: 'slice_difference',
    label: 'Slice difference',
    description:
      'Share of the slice\'s headlines that have it among their strongest features, minus the same share of all other headlines.',
  },
]

export async function featuresPage(run: SharedRun, query: FeaturesQuery): Promise<FeaturesPage> {
  const { run_id, d_sae, metrics } = run.facts
  const { limit = 50, order = 'desc', around } = query
  const members = query.set ? setOf(run, query.set) : undefined
  const columns = query.where?.length ? await sliced(run, query.where) : ofRun(run)
  const metric = query.metric ?? metrics[0]?.name ?? ''
  if (!columns.metrics.some(({ name }) => name === metric)) {
    const known = columns.metrics.map(({ name }) => name).join(', ')
    throw refusal(404, 'unknown_metric', `${run_id} has no metric ${quoted(metric)}; it has ${known}.`)
  }
  const [values, mask, exactness] = await Promise.all([columns.values(metric), matching(run, query, members), exactnessOf(run, query)])
  const sign = order === 'desc' ? -1 : 1
  const found = [...mask.keys()].filter((n) => mask[n])
  found.sort((a, b) => (exactness[b] ?? 0) - (exactness[a] ?? 0) || sign * ((values[a] ?? 0) - (values[b] ?? 0)) || a - b)
  const place = around == null ? -1 : found.indexOf(around)
  const offset = place < 0 ? (query.offset ?? 0) : Math.max(0, place - Math.floor(limit / 2))
  return {
    run_id,
    metric,
    metrics: columns.metrics,
    total: found.length,
    n_exact: found.filter((n) => exactness[n]).length,
    n_features: d_sae,
    n_slice: columns.n_slice,
    place: place < 0 ? null : place,
    offset,
    limit,
    features: await rows(run, columns, found.slice(offset, offset + limit)),
  }
}

// --- columns --------------------------------------------------------------------------------------------

function ofRun(run: SharedRun): Columns {
  return { metrics: run.facts.metrics, values: (metric) => run.vector(`metric ${metric}`), added: {}, n_slice: null, effects: null }
}

/** The columns, and the features' rates and effects in a slice. */
async function sliced(run: SharedRun, conditions: string[]): Promise<Columns> {
  const { n_headlines, metrics, has_effects } = run.facts
  const inside = await inSlice(run, conditions)
  const n_slice = inside.reduce((sum, one) => sum + one, 0)
  const postings = await run.archive.all<Posting>('postings')
  const rate: number[] = []
  const difference: number[] = []
  for (const posting of postings) {
    const headlines = headlinesOf(posting)
    const own = headlines.reduce((sum, n) => sum + (inside[n] ?? 0), 0)
    const here = own / Math.max(n_slice, 1)
    rate.push(here)
    difference.push(here - (headlines.length - own) / Math.max(n_headlines - n_slice, 1))
  }
  const added: Record<string, number[]> = { slice_rate: rate, slice_difference: difference }
  return {
    metrics: [...metrics, ...SLICE_METRICS],
    values: (metric) => (Object.hasOwn(added, metric) ? Promise.resolve(added[metric] ?? []) : run.vector(`metric ${metric}`)),
    added,
    n_slice,
    effects: has_effects ? effectsInside(await run.archive.all<Effects>('effects'), inside) : null,
  }
}

/** The mean effects of features over the headlines of a slice that list them. */
function effectsInside(records: Effects[], inside: Uint8Array): Columns['effects'] {
  const sums = new Map<number, number[]>()
  const counts = new Map<number, number>()
  for (const [headline, features, effects] of records) {
    if (!inside[headline]) continue
    features.forEach((feature, i) => {
      const before = sums.get(feature)
      sums.set(feature, (effects[i] ?? []).map((effect, c) => (before?.[c] ?? 0) + effect))
      counts.set(feature, (counts.get(feature) ?? 0) + 1)
    })
  }
  const means = new Map([...sums].map(([feature, sum]) => [feature, sum.map((one) => Math.fround(one / (counts.get(feature) ?? 1)))]))
  return { means, counts }
}

// --- filters --------------------------------------------------------------------------------------------

/** Which features match all filters; `members` are those of the set that the query names. */
async function matching(run: SharedRun, query: FeaturesQuery, members: number[] | undefined): Promise<Uint8Array> {
  const { d_sae, min_headlines } = run.facts
  const mask = new Uint8Array(d_sae).fill(1)
  const where = async (vector: string, fits: (value: number) => boolean) => {
    keep(mask, Uint8Array.from(await run.vector(vector), (value) => Number(fits(value))))
  }
  const support = {
    live: (count: number) => count > 0,
    dead: (count: number) => count === 0,
    thin: (count: number) => count > 0 && count < min_headlines,
    solid: (count: number) => count >= min_headlines,
  }
  if (query.support && query.support !== 'all') await where('headline_counts', support[query.support])
  const { min_density: low, max_density: high, leaning, labelled, min_seeds: least } = query
  if (low != null) await where('density', (density) => density >= low)
  if (high != null) await where('density', (density) => density <= high)
  if (leaning != null) await where('leaning', (own) => own === leaning)
  if (least != null) {
    const known = run.facts.metrics.some(({ name }) => name === 'found_in_seeds')
    if (known) await where('metric found_in_seeds', (found) => found >= least)
    else if (least > 0) mask.fill(0)
  }
  if (labelled != null) {
    const named = maskOf(d_sae, Object.keys(labels(run)).map(Number))
    keep(mask, named.map((one) => Number(Boolean(one) === labelled)))
  }
  if (members) keep(mask, maskOf(d_sae, members))
  if (query.token) keep(mask, maskOf(d_sae, await firingOn(run, query.token, true)))
  if (query.q) {
    const number = numberIn(query.q)
    keep(mask, number === undefined ? await named(run, query.q) : beginsWith(d_sae, number))
  }
  return mask
}

/** How exactly the features match the search: above 0 they are listed first, the highest before others. */
async function exactnessOf(run: SharedRun, query: FeaturesQuery): Promise<Uint8Array> {
  const exactness = query.token ? maskOf(run.facts.d_sae, await firingOn(run, query.token, false)) : new Uint8Array(run.facts.d_sae)
  const number = numberIn(query.q ?? '')
  if (number !== undefined && number < exactness.length) exactness[number] = (exactness[number] ?? 0) + 2
  return exactness
}

function numberIn(text: string): number | undefined {
  return /^[0-9]+$/.test(text) ? Number(text) : undefined
}

/** Which feature numbers begin with the digits of `number`. */
function beginsWith(length: number, number: number): Uint8Array {
  const mask = maskOf(length, number < length ? [number] : [])
  for (let power = 10; number > 0 && number * power < length; power *= 10) {
    mask.fill(1, number * power, Math.min((number + 1) * power, length))
  }
  return mask
}

/** Which features have `text` in their label, found name, explanation or the word of their strongest token. */
async function named(run: SharedRun, text: string): Promise<Uint8Array> {
  const [letters, words, found, explained] = await Promise.all([
    run.letters(),
    run.vector<string | null>('words'),
    run.foundNames(),
    run.vector<string | null>('explanations'),
  ])
  const wanted = letters.casefold(text)
  const fits = (name: string | null | undefined) => name != null && letters.casefold(name).includes(wanted)
  const mask = Uint8Array.from(words, (word, n) => Number(fits(word) || fits(found[n]?.text) || fits(explained[n])))
  for (const [feature, { name }] of Object.entries(labels(run))) if (letters.casefold(name).includes(wanted)) mask[Number(feature)] = 1
  return mask
}

/** The features that fire on a word, or also on longer words that begin with it. */
async function firingOn(run: SharedRun, word: string, orLonger: boolean): Promise<number[]> {
  const folded = (await run.letters()).casefold(word)
  return (await run.archive.withWord('fired', folded, orLonger)).flatMap(([, features]) => features)
}

/** The labels that people gave. */
const labels = (run: SharedRun) => people(run).labels

function people(run: SharedRun): Pick<LabelsAnswer, 'labels' | 'sets'> {
  const kept = run.answers['/api/labels']
  return kept?.status === 200 ? (kept.body as LabelsAnswer) : { labels: {}, sets: {} }
}

/** The features of a set that people named. */
function setOf(run: SharedRun, name: string): number[] {
  const { sets } = people(run)
  if (Object.hasOwn(sets, name)) return sets[name]?.features ?? []
  const known = Object.keys(sets).map(quoted)
  const more = known.length > LISTED_SETS ? ` and ${known.length - LISTED_SETS} more` : ''
  const has = known.length > 0 ? `it has ${known.slice(0, LISTED_SETS).join(', ')}${more}` : 'it has no sets yet; make one in the viewer'
  throw refusal(404, 'unknown_set', `This SAE has no set of features named ${quoted(name)}; ${has}.`)
}

const LISTED_SETS = 20

// --- rows and pages -------------------------------------------------------------------------------------

async function rows(run: SharedRun, columns: Columns, features: number[]): Promise<FeatureRow[]> {
  const [found, names] = await Promise.all([run.archive.records<Row>('rows', features), run.foundNames()])
  return found.map((row, i) => {
    const feature = features[i] ?? 0
    const added = Object.entries(columns.added).map(([name, values]) => [name, values[feature] ?? 0] as const)
    return {
      ...listed(run, feature, row),
      found_name: names[feature] ?? null,
      values: { ...valuesOf(run, row), ...Object.fromEntries(added) },
      slice_effects: columns.effects?.means.get(feature) ?? null,
      n_slice_effects: columns.effects ? (columns.effects.counts.get(feature) ?? 0) : null,
      nearest: null,
    }
  })
}

function listed(run: SharedRun, feature: number, [word, histogram, n_headlines, density, leaning]: Row) {
  const status = n_headlines === 0 ? 'dead' : n_headlines < run.facts.min_headlines ? 'thin' : 'ok'
  return { feature, word, has_examples: histogram !== null, n_headlines, density, status, leaning, histogram: histogram ?? [] } as const
}

function valuesOf(run: SharedRun, row: Row): Record<string, number> {
  return Object.fromEntries(run.facts.metrics.map(({ name }, i) => [name, row[5][i] ?? 0]))
}

type Estimate = [rank: number | null, tested: number | null, n: number | null, low: number | null, high: number | null, q: number | null]
type Split = [n_fired: number, mean_max: number]
type Example = FeatureInfo['examples'][number]
type Group = Omit<FeatureInfo['groups'][number], 'examples'> & { examples: Omit<Example, 'prompt'>[] }

/** A feature's page, but for what stands elsewhere. */
interface Described extends Pick<FeatureInfo, 'message' | 'words' | 'family' | 'naming' | 'explanation'> {
  stats: Estimate[]
  classes: Split[]
  histogram: number[] | null
  groups: Group[]
  similar_decoder: [feature: number, similarity: number][]
  similar_cofiring: [feature: number, similarity: number][]
}

export async function featureInfo(run: SharedRun, { id }: { id: number }): Promise<FeatureInfo> {
  const { run_id, d_sae, labels: names, metrics, n_headlines, class_sizes, class_metrics, histogram_edges } = run.facts
  if (id >= d_sae) throw refusal(404, 'unknown_feature', `There is no feature ${id}: ${run_id} has features 0 to ${d_sae - 1}.`)
  const [[row], [found], words, foundNames] = await Promise.all([
    run.archive.records<Row>('rows', [id]),
    run.archive.records<Described>('features', [id]),
    run.vector<string | null>('words'),
    run.foundNames(),
  ])
  if (!row || !found) throw new Error(`the archive has no feature ${id}`)
  const values = valuesOf(run, row)
  const { word, n_headlines: n_own, density, status, leaning, has_examples } = listed(run, id, row)
  const stats = await Promise.all(
    metrics.map(async ({ name }, i) => {
      const [rank, tested, n, low, high, q] = found.stats[i] ?? [null, null, null, null, null, null]
      return { name, value: values[name] ?? 0, rank: rank ?? rankOf(await run.vector(`metric ${name}`), id), tested, n, low, high, q }
    }),
  )
  const groups = await inHeadlines(run, found.groups)
  const similar = (pairs: [number, number][]) => pairs.map(([feature, similarity]) => ({ feature, word: words[feature] ?? null, found_name: foundNames[feature] ?? null, similarity }))
  return {
    run_id,
    labels: names,
    feature: id,
    word,
    found_name: foundNames[id] ?? null,
    naming: found.naming,
    explanation: found.explanation,
    n_headlines: n_own,
    density,
    status,
    leaning,
    n_headlines_in_run: n_headlines,
    metrics,
    stats,
    classes: found.classes.map(([n_fired, mean_max], i) => ({
      n_headlines: class_sizes[i] ?? 0,
      n_fired,
      mean_max,
      ...ofClass(stats, ...(class_metrics[i] ?? ['', ''])),
    })),
    histogram: found.histogram && { edges: histogram_edges, counts: found.histogram },
    examples_saved: has_examples,
    message: found.message,
    examples: groups[0]?.examples ?? [],
    groups,
    words: found.words,
    similar_decoder: similar(found.similar_decoder),
    similar_cofiring: similar(found.similar_cofiring),
    family: found.family,
  }
}

/** 1 is the highest value; ties are ranked by number. */
function rankOf(values: number[], feature: number): number {
  const own = values[feature] ?? 0
  return 1 + values.reduce((before, value, n) => before + Number(value > own || (value === own && n < feature)), 0)
}

/** What the metrics say of a feature within a class. */
function ofClass(stats: FeatureInfo['stats'], aurocName: string, effectName: string) {
  const auroc = stats.find(({ name }) => name === aurocName)
  const effect = stats.find(({ name }) => name === effectName)
  return {
    auroc: auroc?.tested ?? auroc?.value ?? null,
    auroc_low: auroc?.low ?? null,
    auroc_high: auroc?.high ?? null,
    auroc_q: auroc?.q ?? null,
    effect: effect?.value ?? null,
    effect_low: effect?.low ?? null,
    effect_high: effect?.high ?? null,
    effect_n: effect?.n ?? null,
  }
}

/** Examples with their headlines. */
async function inHeadlines(run: SharedRun, groups: Group[]): Promise<FeatureInfo['groups']> {
  const numbers = [...new Set(groups.flatMap(({ examples }) => examples.map(({ headline }) => headline)))]
  const headlines = await run.archive.records<Headline>('headlines', numbers)
  const prompts = new Map(headlines.map((headline) => [headline.headline, promptOf(headline)]))
  return groups.map((group) => ({
    ...group,
    examples: group.examples.map((example) => ({ ...example, prompt: prompts.get(example.headline) as Prompt })),
  }))
}

function promptOf({ headline_id, text, label, prediction, probabilities, tokens, starts, ends, words, columns }: Headline): Prompt {
  return { headline_id, text, label, prediction, probabilities, tokens, starts, ends, words, columns }
}
