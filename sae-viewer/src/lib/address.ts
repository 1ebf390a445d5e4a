/** The address is the state of a view: it is read into a record, and a record is written as an address. */

import { choice, choiceOr, defaults, flag, integer, option, optionalText, readParameters, share, text, texts, wholeNumber, writeParameters, type Values } from './parameters'

export { wholeNumber }

export const SORTS = ['position', 'confidence', 'margin', 'loss'] as const
export const ORDERS = ['asc', 'desc'] as const
export const SUPPORTS = ['all', 'live', 'dead', 'thin', 'solid'] as const
/** How a search text is understood. */
export const SEARCHES = ['words', 'meaning'] as const
export const PANELS = ['runs', 'quality', 'contrast', 'diff', 'compare', 'labels'] as const
/** The prefix of an order by one of the table's other columns. */
export const BY_COLUMN = 'column:'
export type Sort = (typeof SORTS)[number] | `column:${string}`
export type Order = (typeof ORDERS)[number]
export type Support = (typeof SUPPORTS)[number]
export type Panel = (typeof PANELS)[number]

/** How many conditions the API takes, and how long one may be, in UTF-16 units. */
export const MOST_CONDITIONS = 20
const LONGEST_CONDITION = 2_000
/** How many columns a row has room for. */
export const MOST_SHOWN = 6
/** Room for the API's longest list of edits, in UTF-16 units. */
const BENCH_LENGTH = 16_000

// Both views begin and end with the same parameters; an address is written in this order.
const FIRST = {
  /** A run other than the served one. */
  run: optionalText('run', 64),
  q: text('q'),
  by: choice('by', SEARCHES, 'words'),
  /** Conditions on the table's other columns, as `/api/headlines` takes them: the slice. */
  where: texts('where', MOST_CONDITIONS, LONGEST_CONDITION),
}
const LAST = {
  grain: choice('tokens', ['words', 'pieces'], 'words'),
  /** The panel over the view. */
  panel: choice('panel', PANELS, undefined),
  /** What is open in a panel: a kind of change by its place in the list, or the changed feature with this number. */
  change: integer('change'),
  /** Runs that stand beside this one, separated by commas. */
  compare: optionalText('compare'),
}
const HEADLINES_PARAMETERS = {
  ...FIRST,
  /** Class indices. */
  label: integer('label'),
  prediction: integer('prediction'),
  correct: option('correct', { true: true, false: false, any: undefined }),
  /** Bounds of the predicted class's probability, 0 to 1. */
  minConfidence: share('min_confidence'),
  maxConfidence: share('max_confidence'),
  /** Only headlines with this feature among their strongest. */
  feature: integer('feature'),
  /** Undefined where the address says nothing: the order of the run, or of the opening view; see `lib/opening.ts`. */
  sort: choiceOr('sort', SORTS, BY_COLUMN, undefined, LONGEST_CONDITION),
  order: choice('order', ORDERS, 'asc'),
  /** 0-based row of the list that is open to all its features. */
  open: integer('open'),
  /** The feature whose heat the open row shows; its strongest when absent. */
  lit: integer('lit'),
  /** Columns of the table that the rows show. */
  show: texts('show', MOST_SHOWN, LONGEST_CONDITION),
  /** Whether features are shown with their effect on the prediction. */
  effects: flag('effects'),
  ...LAST,
}
const BENCH_PARAMETERS = {
  run: FIRST.run,
  /** The text and the edits of its features, as `lib/bench.ts` writes them. */
  bench: optionalText('bench', BENCH_LENGTH),
  /** 0-based index in the run of the headline that the text comes from. */
  headline: integer('headline'),
  ...LAST,
}
const MAP_PARAMETERS = {
  run: FIRST.run,
  /** Features that are marked on the map. */
  q: FIRST.q,
  by: FIRST.by,
  /** What colours the points: `leaning` or one of the map's columns. */
  colour: optionalText('colour', 2_000),
  /** The region whose features are listed, by its number on the map. */
  region: integer('region'),
  /** The lasso around the features that are listed, as `lib/map.ts` writes it. */
  lasso: optionalText('lasso', 500),
  ...LAST,
}
const FEATURES_PARAMETERS = {
  ...FIRST,
  /** Only features that fire on this word. */
  token: text('token', 64),
  /** A metric's name; the run's first when absent. */
  metric: optionalText('metric', 2_000),
  order: choice('order', ORDERS, 'desc'),
  /** Only features with this support: how many headlines they fire in. */
  support: choice('support', SUPPORTS, 'all'),
  /** Bounds of the share of tokens on which a feature fires, 0 to 1. */
  minDensity: share('min_density'),
  maxDensity: share('max_density'),
  /** Only features whose activation indicates this class best. */
  leaning: integer('leaning'),
  /** Only features that are found in at least so many trainings with other seeds. */
  minSeeds: integer('min_seeds'),
  /** Only features that a person has named. */
  labelled: flag('labelled'),
  /** Only features of the set of this name. */
  set: text('set'),
  /** Words shown on either side of the strongest one in an example; all when absent. */
  context: integer('context'),
  ...LAST,
}

export interface HeadlinesAddress extends Values<typeof HEADLINES_PARAMETERS> {
  view: 'headlines'
}

export interface FeaturesAddress extends Values<typeof FEATURES_PARAMETERS> {
  view: 'features'
  /** The feature whose page is shown, from the path. */
  feature: number | undefined
  /** Whether the feature's card is shown in the place of its page, from the path. */
  card: boolean
}

export interface BenchAddress extends Values<typeof BENCH_PARAMETERS> {
  view: 'bench'
}

export interface MapAddress extends Values<typeof MAP_PARAMETERS> {
  view: 'map'
}

export interface UnknownAddress {
  view: 'unknown'
  run: string | undefined
  path: string
}

export type Address = HeadlinesAddress | FeaturesAddress | BenchAddress | MapAddress | UnknownAddress
export type KnownAddress = Exclude<Address, UnknownAddress>

/** An address, with a sentence for every part of it that has no meaning and was left out. */
export interface ReadAddress {
  address: Address
  problems: string[]
}

export const HEADLINES: HeadlinesAddress = { view: 'headlines', ...defaults(HEADLINES_PARAMETERS) }
export const BENCH: BenchAddress = { view: 'bench', ...defaults(BENCH_PARAMETERS) }
export const MAP: MapAddress = { view: 'map', ...defaults(MAP_PARAMETERS) }
export const FEATURES: FeaturesAddress = { view: 'features', feature: undefined, card: false, ...defaults(FEATURES_PARAMETERS) }

export function readAddress(path: string, search: string): ReadAddress {
  const problems: string[] = []
  const given = new URLSearchParams(search)
  const [page, id, part, ...rest] = path.split('/').filter(Boolean)
  const feature = id === undefined ? undefined : wholeNumber(id)
  // The bench was a dialog over the headlines; its former addresses keep their meaning.
  if (id === undefined && (page === 'bench' || (page === undefined && given.has(BENCH_PARAMETERS.bench.name)))) {
    return { address: { view: 'bench', ...readParameters(BENCH_PARAMETERS, given, problems) }, problems }
  }
  if (page === undefined) {
    return { address: { view: 'headlines', ...readParameters(HEADLINES_PARAMETERS, given, problems) }, problems }
  }
  if (page === 'map' && id === undefined) {
    return { address: { view: 'map', ...readParameters(MAP_PARAMETERS, given, problems) }, problems }
  }
  const card = part === 'card'
  if (page === 'features' && rest.length === 0 && (part === undefined || card) && (id === undefined || feature !== undefined)) {
    return { address: { view: 'features', feature, card, ...readParameters(FEATURES_PARAMETERS, given, problems) }, problems }
  }
  const { run } = readParameters(FIRST, given, problems)
  return { address: { view: 'unknown', run, path: path.length > 40 ? `${path.slice(0, 40)}…` : path }, problems }
}

/** The address as a path with its query. Values that are defaults are left out. */
export function writeAddress(address: Address): string {
  if (address.view === 'unknown') return address.path
  const [path, parameters] = written(address)
  return parameters.size ? `${path}?${parameters}` : path
}

function written(address: KnownAddress): [path: string, parameters: URLSearchParams] {
  switch (address.view) {
    case 'headlines':
      return ['/', writeParameters(HEADLINES_PARAMETERS, address)]
    case 'bench':
      return ['/bench', writeParameters(BENCH_PARAMETERS, address)]
    case 'map':
      return ['/map', writeParameters(MAP_PARAMETERS, address)]
    case 'features': {
      const page = address.feature === undefined ? '/features' : `/features/${address.feature}${address.card ? '/card' : ''}`
      return [page, writeParameters(FEATURES_PARAMETERS, address)]
    }
  }
}

/** The part of an address that decides the scroll position: all but what opens or changes in place. */
export function scrollKey(address: Address): string {
  const inPlace = { grain: 'words', panel: undefined, change: undefined, compare: undefined } as const
  if (address.view === 'headlines') {
    return writeAddress({ ...address, ...inPlace, open: undefined, lit: undefined, effects: false, show: [] })
  }
  if (address.view === 'bench' || address.view === 'map') return `/${address.view}`
  if (address.view === 'features') return writeAddress({ ...address, ...inPlace, context: undefined })
  return address.path
}

/** The panel over the view. An address that names runs to compare needs no panel's name. */
export function shownPanel(address: Address): Panel | undefined {
  if (address.view === 'unknown') return undefined
  return address.panel ?? (address.compare ? 'compare' : undefined)
}

/** The address with a panel over it. */
export function openPanel(address: Address, panel: Panel = 'runs'): KnownAddress {
  return address.view === 'unknown' ? { ...HEADLINES, run: address.run, panel } : { ...address, panel }
}
