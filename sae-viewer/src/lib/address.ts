/** The address is the state of a view: read it into a record, write a record as an address. Defaults are left out. */

import type { Grain } from './text'

export const SORTS = ['position', 'confidence', 'margin', 'loss'] as const
export const ORDERS = ['asc', 'desc'] as const
export type Sort = (typeof SORTS)[number]
export type Order = (typeof ORDERS)[number]

export interface HeadlinesAddress {
  view: 'headlines'
  /** A run other than the served one. */
  run: string | undefined
  q: string
  /** Class indices. */
  label: number | undefined
  prediction: number | undefined
  correct: boolean | undefined
  /** Only headlines with this feature among their strongest. */
  feature: number | undefined
  sort: Sort
  order: Order
  /** 0-based row of the list that is open to all its features. */
  open: number | undefined
  grain: Grain
}

export interface FeaturesAddress {
  view: 'features'
  run: string | undefined
  feature: number | undefined
  /** A metric's name; the run's first when absent. */
  metric: string | undefined
  q: string
  grain: Grain
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

const MAX_INDEX = 10 ** 9
const MAX_QUERY = 200

export const HEADLINES: HeadlinesAddress = {
  view: 'headlines',
  run: undefined,
  q: '',
  label: undefined,
  prediction: undefined,
  correct: undefined,
  feature: undefined,
  sort: 'position',
  order: 'asc',
  open: undefined,
  grain: 'words',
}

export const FEATURES: FeaturesAddress = {
  view: 'features',
  run: undefined,
  feature: undefined,
  metric: undefined,
  q: '',
  grain: 'words',
}

export function readAddress(path: string, search: string): ReadAddress {
  const problems: string[] = []
  const parameters = new URLSearchParams(search)

  function text(name: string, longest = MAX_QUERY): string {
    const value = parameters.get(name) ?? ''
    if (value.length <= longest) return value
    problems.push(`The ${name} in the address was cut to ${longest} characters.`)
    return value.slice(0, longest)
  }
  function integer(name: string): number | undefined {
    const value = parameters.get(name)
    if (value === null) return undefined
    const read = wholeNumber(value)
    if (read === undefined) problems.push(`“${name}=${brief(value)}” in the address is no whole number; it was ignored.`)
    return read
  }
  function oneOf<const T extends string>(name: string, choices: readonly T[], fallback: T): T {
    const value = parameters.get(name)
    const found = choices.find((choice) => choice === value)
    if (value !== null && found === undefined) {
      problems.push(`“${name}=${brief(value)}” in the address is none of ${choices.join(', ')}; it was ignored.`)
    }
    return found ?? fallback
  }

  const run = text('run', 64) || undefined
  const parts = path.split('/').filter(Boolean)
  if (parts.length === 0) {
    const correct = oneOf('correct', ['true', 'false', 'any'], 'any')
    const address: HeadlinesAddress = {
      view: 'headlines',
      run,
      q: text('q'),
      label: integer('label'),
      prediction: integer('prediction'),
      correct: correct === 'any' ? undefined : correct === 'true',
      feature: integer('feature'),
      sort: oneOf('sort', SORTS, 'position'),
      order: oneOf('order', ORDERS, 'asc'),
      open: integer('open'),
      grain: oneOf('tokens', ['words', 'pieces'], 'words'),
    }
    return { address, problems }
  }
  const id = parts[1] === undefined ? undefined : wholeNumber(parts[1])
  if (parts[0] === 'features' && parts.length <= 2 && (parts.length === 1 || id !== undefined)) {
    const address: FeaturesAddress = {
      view: 'features',
      run,
      feature: id,
      metric: text('metric', 64) || undefined,
      q: text('q'),
      grain: oneOf('tokens', ['words', 'pieces'], 'words'),
    }
    return { address, problems }
  }
  return { address: { view: 'unknown', run, path: brief(path) }, problems }
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
    put('feature', address.feature)
    put('sort', address.sort, HEADLINES.sort)
    put('order', address.order, HEADLINES.order)
    put('open', address.open)
  } else {
    path = address.feature === undefined ? '/features' : `/features/${address.feature}`
    put('metric', address.metric)
  }
  put('tokens', address.grain, 'words')
  return parameters.size ? `${path}?${parameters}` : path
}

/** What of an address decides the scroll position: all but what opens or changes in place. */
export function scrollKey(address: Address): string {
  if (address.view === 'headlines') return writeAddress({ ...address, open: undefined, grain: 'words' })
  if (address.view === 'features') return writeAddress({ ...address, grain: 'words' })
  return address.path
}

/** A non-negative whole number as plain digits, at most `MAX_INDEX`. */
export function wholeNumber(text: string): number | undefined {
  return /^\d{1,10}$/.test(text) && Number(text) <= MAX_INDEX ? Number(text) : undefined
}

function brief(text: string): string {
  return text.length > 40 ? `${text.slice(0, 40)}…` : text
}
