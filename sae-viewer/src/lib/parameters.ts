/** Query parameters read one by one; what makes no sense is left out and named in `problems`. */

const MAX_INDEX = 10 ** 9

export class Reader {
  /** A sentence for every parameter that was left out or cut. */
  readonly problems: string[] = []
  private readonly parameters: URLSearchParams

  constructor(search: string) {
    this.parameters = new URLSearchParams(search)
  }

  /** Text, cut to `longest` UTF-16 units; empty where absent. */
  text(name: string, longest = 200): string {
    const value = this.parameters.get(name) ?? ''
    if (value.length <= longest) return value
    this.problems.push(`The ${name} in the address was cut to ${longest} characters.`)
    return value.slice(0, longest)
  }

  integer(name: string): number | undefined {
    return this.parsed(name, wholeNumber, 'no whole number')
  }

  /** A number from 0 to 1. */
  share(name: string): number | undefined {
    return this.parsed(name, fraction, 'no number from 0 to 1')
  }

  choice<const T extends string>(name: string, choices: readonly T[]): T | undefined {
    return this.parsed(name, (text) => choices.find((one) => one === text), `none of ${choices.join(', ')}`)
  }

  private parsed<T>(name: string, parse: (text: string) => T | undefined, fault: string): T | undefined {
    const value = this.parameters.get(name)
    if (value === null) return undefined
    const read = parse(value)
    if (read === undefined) {
      const brief = value.length > 40 ? `${value.slice(0, 40)}…` : value
      this.problems.push(`“${name}=${brief}” in the address is ${fault}; it was ignored.`)
    }
    return read
  }
}

/** A non-negative whole number as plain digits, at most `MAX_INDEX`. */
export function wholeNumber(text: string): number | undefined {
  return /^\d{1,10}$/.test(text) && Number(text) <= MAX_INDEX ? Number(text) : undefined
}

function fraction(text: string): number | undefined {
  return /^\d?(\.\d+)?(e-\d{1,3})?$/.test(text) && /\d/.test(text) && Number(text) <= 1 ? Number(text) : undefined
}
