/** What the bench holds, as one piece of the address: a text, the one it is compared with, edits of features. */

export const OPERATIONS = ['ablate', 'scale', 'clamp', 'add'] as const
export type Operation = (typeof OPERATIONS)[number]

export interface BenchEdit {
  feature: number
  operation: Operation
  /** scale: times f; clamp: f itself; add: on top of f, all where the SAE looks. */
  value: number
}

export interface Bench {
  text: string
  /** The text as it was, to compare with. */
  from: string
  edits: BenchEdit[]
}

/** As the API bounds them. */
export const MAX_TEXT = 1000
const MAX_EDITS = 32
const MAX_VALUE = 1e4
const MAX_FEATURE = 1e9

/** A bench on one text. */
export function benchOf(text: string): string {
  return writeBench({ text, from: text, edits: [] })
}

export function writeBench({ text, from, edits }: Bench): string {
  return JSON.stringify({
    text,
    ...(from === text ? {} : { from }),
    ...(edits.length > 0 ? { edits: edits.map(({ feature, operation, value }) => [feature, operation, value]) } : {}),
  })
}

/** What makes no sense is left out. */
export function readBench(written: string): Bench {
  const found = parsed(written)
  const text = typeof found.text === 'string' ? found.text.slice(0, MAX_TEXT) : ''
  const from = typeof found.from === 'string' ? found.from.slice(0, MAX_TEXT) : text
  const edits = Array.isArray(found.edits) ? found.edits.flatMap(readEdit) : []
  const first = edits.filter(({ feature }, i) => edits.findIndex((one) => one.feature === feature) === i)
  return { text, from, edits: first.slice(0, MAX_EDITS) }
}

function parsed(written: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(written)
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
  } catch {
    return {}
  }
}

function readEdit(written: unknown): BenchEdit[] {
  if (!Array.isArray(written)) return []
  const [feature, name, value] = written as unknown[]
  const operation = OPERATIONS.find((one) => one === name)
  const sound =
    Number.isInteger(feature) &&
    (feature as number) >= 0 &&
    (feature as number) <= MAX_FEATURE &&
    typeof value === 'number' &&
    Math.abs(value) <= MAX_VALUE
  return sound && operation ? [{ feature: feature as number, operation, value }] : []
}

/** The edits with one more, or with the feature's edit replaced; `undefined` takes it away. */
export function withEdit(edits: readonly BenchEdit[], feature: number, edit: BenchEdit | undefined): BenchEdit[] {
  const at = edits.findIndex((one) => one.feature === feature)
  if (!edit) return edits.filter((one) => one.feature !== feature)
  return at < 0 ? [...edits, edit] : edits.map((one, i) => (i === at ? edit : one))
}

/** What an edit does, in words: "ablated", "× 0.5", "= 12", "+ 3". */
export function editInWords({ operation, value }: BenchEdit): string {
  const size = `${Math.round(Math.abs(value) * 100) / 100}`
  switch (operation) {
    case 'ablate':
      return 'ablated'
    case 'scale':
      return `× ${value < 0 ? '−' : ''}${size}`
    case 'clamp':
      return `= ${value < 0 ? '−' : ''}${size}`
    case 'add':
      return `${value < 0 ? '−' : '+'} ${size}`
  }
}
