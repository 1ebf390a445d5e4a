/** Query parameters of an address, each declared once: its name, how its text is read, and its default. */

/** The greatest number that an address may name. */
const MAX_INDEX = 10 ** 9

export interface Parameter<T> {
  /** The name in the address. */
  name: string
  /** The value where the address does not have the parameter; it is never written. */
  fallback: T
  /**
   * The value that the texts stand for, of which there are several where the address repeats the name. A text without
   * meaning gives the default and a problem, in one sentence.
   */
  read: (text: string, others: string[]) => { value: T; problem?: string }
}

type Parameters = Record<string, Parameter<unknown>>
export type Values<P extends Parameters> = { [K in keyof P]: P[K] extends Parameter<infer T> ? T : never }

/** Text, cut to `longest` UTF-16 units; empty where absent. */
export function text(name: string, longest = 200): Parameter<string> {
  const read = (written: string) =>
    written.length <= longest
      ? { value: written }
      : { value: written.slice(0, longest), problem: `The ${name} in the address was cut to ${longest} characters.` }
  return { name, fallback: '', read }
}

/** Like `text`, but undefined where absent or empty. */
export function optionalText(name: string, longest?: number): Parameter<string | undefined> {
  const { read } = text(name, longest)
  return { name, fallback: undefined, read: (written) => ({ ...read(written, []), value: read(written, []).value || undefined }) }
}

/** Texts of which the name is repeated; at most `most` are read, and empty ones and repetitions are left out. */
export function texts(name: string, most: number, longest: number): Parameter<readonly string[]> {
  const read = (first: string, others: string[]) => {
    const all = [...new Set([first, ...others])].filter(Boolean)
    const value = all.filter((written) => written.length <= longest).slice(0, most)
    return value.length === all.length ? { value } : { value, problem: `Only ${most} of “${name}”, each of at most ${longest} characters, are read; the others were ignored.` }
  }
  return { name, fallback: [], read }
}

export function integer(name: string): Parameter<number | undefined> {
  return parsed(name, undefined, 'no whole number', (written) => found(wholeNumber(written)))
}

/** A number from 0 to 1. */
export function share(name: string): Parameter<number | undefined> {
  return parsed(name, undefined, 'no number from 0 to 1', (written) => found(fraction(written)))
}

/** One of several words. */
export function choice<const T extends string, F extends T | undefined = T>(name: string, choices: readonly T[], fallback: F): Parameter<T | F> {
  return parsed<T | F>(name, fallback, `none of ${choices.join(', ')}`, (written) => found(choices.find((one) => one === written)))
}

/** One of several words, or any text behind a prefix. */
export function choiceOr<const T extends string, const P extends string, F extends T | undefined = T>(name: string, choices: readonly T[], prefix: P, fallback: F, longest: number): Parameter<T | `${P}${string}` | F> {
  const isBehind = (written: string): written is `${P}${string}` => written.startsWith(prefix) && written.length > prefix.length && written.length <= longest
  return parsed<T | `${P}${string}` | F>(name, fallback, `none of ${choices.join(', ')}, ${prefix}…`, (written) =>
    isBehind(written) ? { value: written } : found(choices.find((one) => one === written)),
  )
}

/** The value that one of several words stands for; undefined where absent. */
export function option<T>(name: string, options: Record<string, T>): Parameter<T | undefined> {
  return parsed<T | undefined>(name, undefined, `none of ${Object.keys(options).join(', ')}`, (written) =>
    Object.hasOwn(options, written) ? { value: options[written] } : undefined,
  )
}

/** `true` or `false`; false where absent. */
export function flag(name: string): Parameter<boolean> {
  const { read } = option(name, { true: true, false: false })
  return { name, fallback: false, read: (written) => ({ ...read(written, []), value: read(written, []).value ?? false }) }
}

function parsed<T>(name: string, fallback: T, fault: string, parse: (written: string) => { value: T } | undefined): Parameter<T> {
  const read = (written: string) => {
    const brief = written.length > 40 ? `${written.slice(0, 40)}…` : written
    return parse(written) ?? { value: fallback, problem: `“${name}=${brief}” in the address is ${fault}; it was ignored.` }
  }
  return { name, fallback, read }
}

function found<T>(value: T | undefined): { value: T } | undefined {
  return value === undefined ? undefined : { value }
}

/** The value of every parameter in an address without any. */
export function defaults<P extends Parameters>(parameters: P): Values<P> {
  return fromEntries(parameters, ({ fallback }) => fallback)
}

/** The value of every parameter; the problems met are added to `problems`. */
export function readParameters<P extends Parameters>(parameters: P, given: URLSearchParams, problems: string[]): Values<P> {
  return fromEntries(parameters, ({ name, fallback, read }) => {
    const [written, ...others] = given.getAll(name)
    if (written === undefined) return fallback
    const { value, problem } = read(written, others)
    if (problem !== undefined) problems.push(problem)
    return value
  })
}

/** The parameters that differ from their defaults, in the order of their declaration. */
export function writeParameters<P extends Parameters>(parameters: P, values: Values<P>): URLSearchParams {
  const written = new URLSearchParams()
  for (const [key, { name, fallback }] of Object.entries(parameters)) {
    const value = values[key]
    if (value === undefined || value === fallback) continue
    for (const one of Array.isArray(value) ? (value as readonly string[]) : [value]) written.append(name, String(one))
  }
  return written
}

function fromEntries<P extends Parameters>(parameters: P, value: (parameter: Parameter<unknown>) => unknown): Values<P> {
  return Object.fromEntries(Object.entries(parameters).map(([key, parameter]) => [key, value(parameter)])) as Values<P>
}

/** A non-negative whole number in plain digits, at most 10⁹. */
export function wholeNumber(written: string): number | undefined {
  return /^\d{1,10}$/.test(written) && Number(written) <= MAX_INDEX ? Number(written) : undefined
}

function fraction(written: string): number | undefined {
  return /^\d?(\.\d+)?(e-\d{1,3})?$/.test(written) && /\d/.test(written) && Number(written) <= 1 ? Number(written) : undefined
}
