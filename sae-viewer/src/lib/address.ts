/** The address is the state of a view: read it into a record, write a record as an address. Defaults are left out. */

import { Reader, wholeNumber } from './parameters'
import type { Grain } from './text'

export { wholeNumber }

export const SORTS = ['position', 'confidence', 'margin', 'loss'] as const
export const ORDERS = ['asc', 'desc'] as const
export const EVIDENCE = ['all', 'live', 'dead', 'thin', 'solid'] as const
export const PANELS = ['runs', 'quality', 'compare', 'labels'] as const
export type Sort = (typeof SORTS)[number]
export type Order = (typeof ORDERS)[number]
export type Evidence = (typeof EVIDENCE)[number]
export type Panel = (typeof PANELS)[number]

/** What is true of both tabs. */
interface Shared {
  /** A run other than the served one. */
  run: string | undefined
  /** What lies over the tab. */
  panel: Panel | undefined
  /** Runs that stand beside this one, separated by commas. */
  compare: string | undefined
  q: string
  grain: Grain
}

export interface HeadlinesAddress extends Shared {
  view: 'headlines'
  /** Class indices. */
  label: number | undefined
  prediction: number | undefined
  correct: boolean | undefined
  /** Bounds of the predicted class's probability, 0 to 1. */
  minConfidence: number | undefined
  maxConfidence: number | undefined
  /** Only headlines with this feature among their strongest. */
  feature: number | undefined
  sort: Sort
  order: Order
  /** 0-based row of the list that is open to all its features. */
  open: number | undefined
  /** The feature whose heat the open row shows; its strongest when absent. */
  lit: number | undefined
  /** Whether features stand with their effect on the prediction. */
  effects: boolean
  /** What the bench over the list holds; written and read by the bench. */
  bench: string | undefined
}

export interface FeaturesAddress extends Shared {
  view: 'features'
  feature: number | undefined
  /** A metric's name; the run's first when absent. */
  metric: string | undefined
  order: Order
  /** Only features that fire on this word. */
  token: string
  evidence: Evidence
  /** Bounds of the share of tokens on which a feature fires, 0 to 1. */
  minDensity: number | undefined
  maxDensity: number | undefined
  /** Only features that lean to this class. */
  leaning: number | undefined
  /** Only features that a person has named. */
  labelled: boolean
  /** Words shown on either side of the strongest one in an example; all when absent. */
  context: number | undefined
}

export interface UnknownAddress {
  view: 'unknown'
  run: string | undefined
  path: string
}

export type Address = HeadlinesAddress | FeaturesAddress | UnknownAddress

/** An address with a sentence for every part of it that makes no sense and was left out. */
export interface ReadAddress {
  address: Address
  problems: string[]
}

const SHARED: Shared = { run: undefined, panel: undefined, compare: undefined, q: '', grain: 'words' }

export const HEADLINES: HeadlinesAddress = {
  ...SHARED,
  view: 'headlines',
  label: undefined,
  prediction: undefined,
  correct: undefined,
  minConfidence: undefined,
  maxConfidence: undefined,
  feature: undefined,
  sort: 'position',
  order: 'asc',
  open: undefined,
  lit: undefined,
  effects: false,
  bench: undefined,
}

export const FEATURES: FeaturesAddress = {
  ...SHARED,
  view: 'features',
  feature: undefined,
  metric: undefined,
  order: 'desc',
  token: '',
  evidence: 'all',
  minDensity: undefined,
  maxDensity: undefined,
  leaning: undefined,
  labelled: false,
  context: undefined,
}

export function readAddress(path: string, search: string): ReadAddress {
  const read = new Reader(search)
  const { problems } = read
  const run = read.text('run', 64) || undefined
  const parts = path.split('/').filter(Boolean)
  const id = parts[1] === undefined ? undefined : wholeNumber(parts[1])
  if (parts.length === 0) return { address: readHeadlines(read, run), problems }
  if (parts[0] === 'features' && parts.length <= 2 && (parts.length === 1 || id !== undefined)) {
    return { address: readFeatures(read, run, id), problems }
  }
  return { address: { view: 'unknown', run, path: path.length > 40 ? `${path.slice(0, 40)}…` : path }, problems }
}

function readShared(read: Reader, run: string | undefined): Shared {
  return {
    run,
    panel: read.choice('panel', PANELS),
    compare: read.text('compare') || undefined,
    q: read.text('q'),
    grain: read.choice('tokens', ['words', 'pieces']) ?? 'words',
  }
}

function readHeadlines(read: Reader, run: string | undefined): HeadlinesAddress {
  const correct = read.choice('correct', ['true', 'false', 'any'])
  return {
    ...readShared(read, run),
    view: 'headlines',
    label: read.integer('label'),
    prediction: read.integer('prediction'),
    correct: correct === undefined || correct === 'any' ? undefined : correct === 'true',
    minConfidence: read.share('min_confidence'),
    maxConfidence: read.share('max_confidence'),
    feature: read.integer('feature'),
    sort: read.choice('sort', SORTS) ?? HEADLINES.sort,
    order: read.choice('order', ORDERS) ?? HEADLINES.order,
    open: read.integer('open'),
    lit: read.integer('lit'),
    effects: read.choice('effects', ['true', 'false']) === 'true',
    bench: read.text('bench', 4000) || undefined,
  }
}

function readFeatures(read: Reader, run: string | undefined, feature: number | undefined): FeaturesAddress {
  return {
    ...readShared(read, run),
    view: 'features',
    feature,
    metric: read.text('metric', 64) || undefined,
    order: read.choice('order', ORDERS) ?? FEATURES.order,
    token: read.text('token', 64),
    evidence: read.choice('evidence', EVIDENCE) ?? FEATURES.evidence,
    minDensity: read.share('min_density'),
    maxDensity: read.share('max_density'),
    leaning: read.integer('leaning'),
    labelled: read.choice('labelled', ['true', 'false']) === 'true',
    context: read.integer('context'),
  }
}

export function writeAddress(address: Address): string {
  if (address.view === 'unknown') return address.path
  const parameters = new URLSearchParams()
  const put = (name: string, value: string | number | boolean | undefined, fallback?: unknown) => {
    if (value !== undefined && value !== '' && value !== fallback) parameters.set(name, String(value))
  }
  put('run', address.run)
  put('q', address.q)
  let path = '/'
  if (address.view === 'headlines') {
    put('label', address.label)
    put('prediction', address.prediction)
    put('correct', address.correct)
    put('min_confidence', address.minConfidence)
    put('max_confidence', address.maxConfidence)
    put('feature', address.feature)
    put('sort', address.sort, HEADLINES.sort)
    put('order', address.order, HEADLINES.order)
    put('open', address.open)
    put('lit', address.lit)
    put('effects', address.effects, false)
    put('bench', address.bench)
  } else {
    path = address.feature === undefined ? '/features' : `/features/${address.feature}`
    put('token', address.token)
    put('metric', address.metric)
    put('order', address.order, FEATURES.order)
    put('evidence', address.evidence, FEATURES.evidence)
    put('min_density', address.minDensity)
    put('max_density', address.maxDensity)
    put('leaning', address.leaning)
    put('labelled', address.labelled, false)
    put('context', address.context)
  }
  put('tokens', address.grain, 'words')
  put('panel', address.panel)
  put('compare', address.compare)
  return parameters.size ? `${path}?${parameters}` : path
}

/** What of an address decides the scroll position: all but what opens or changes in place. */
export function scrollKey(address: Address): string {
  const inPlace = { grain: 'words', panel: undefined, compare: undefined } as const
  if (address.view === 'headlines') {
    return writeAddress({ ...address, ...inPlace, open: undefined, lit: undefined, effects: false, bench: undefined })
  }
  if (address.view === 'features') return writeAddress({ ...address, ...inPlace, context: undefined })
  return address.path
}

/** The panel that lies over the tab: runs to compare say by themselves which. */
export function shownPanel(address: Address): Panel | undefined {
  if (address.view === 'unknown') return undefined
  return address.panel ?? (address.compare ? 'compare' : undefined)
}

/** The address with a panel over it. */
export function openPanel(address: Address, panel: Panel = 'runs'): HeadlinesAddress | FeaturesAddress {
  return address.view === 'unknown' ? { ...HEADLINES, run: address.run, panel } : { ...address, panel }
}
