/** The state of the bench as one piece of the address: a text, the text it is compared with, and edits of features. */

export const OPERATIONS = ['ablate', 'scale', 'clamp', 'add'] as const
export type Operation = (typeof OPERATIONS)[number]

export interface FeatureEdit {
  feature: number
  operation: Operation
  /** scale: a factor of f; clamp: the new f; add: what is added to f at every position that the SAE reads. */
  value: number
}

export interface BenchState {
  text: string
  /** The original text, to compare with. */
  from: string
  edits: FeatureEdit[]
}

/** The bounds that `/api/live` sends. */
export interface BenchLimits {
  max_characters: number
  max_edits: number
  max_value: number
}

/** A bench on one text, without edits. */
export function benchOf(text: string): string {
  return writeBench({ text, from: text, edits: [] })
}

export function writeBench({ text, from, edits }: BenchState): string {
  return JSON.stringify({
    text,
    ...(from === text ? {} : { from }),
    ...(edits.length > 0 ? { edits: edits.map(({ feature, operation, value }) => [feature, operation, value]) } : {}),
  })
}

/** The state that an address holds. What has the wrong shape is left out, and only a feature's first edit is kept. */
export function readBench(written: string): BenchState {
  const found = parseRecord(written)
  const text = typeof found.text === 'string' ? found.text : ''
  const from = typeof found.from === 'string' ? found.from : text
  const edits = Array.isArray(found.edits) ? found.edits.flatMap(readEdit) : []
  return { text, from, edits: edits.filter(({ feature }, i) => edits.findIndex((one) => one.feature === feature) === i) }
}

/** The state within the limits of the API: texts and the list of edits are cut, values are clamped. */
export function withinLimits({ text, from, edits }: BenchState, { max_characters, max_edits, max_value }: BenchLimits): BenchState {
  return {
    text: text.slice(0, max_characters),
    from: from.slice(0, max_characters),
    edits: edits.slice(0, max_edits).map((edit) => ({ ...edit, value: Math.min(max_value, Math.max(-max_value, edit.value)) })),
  }
}

function parseRecord(written: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(written)
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
  } catch {
    return {}
  }
}

function readEdit(written: unknown): FeatureEdit[] {
  if (!Array.isArray(written)) return []
  const [feature, name, value] = written as unknown[]
  const operation = OPERATIONS.find((one) => one === name)
  const sound = Number.isSafeInteger(feature) && (feature as number) >= 0 && Number.isFinite(value)
  return sound && operation ? [{ feature: feature as number, operation, value: value as number }] : []
}

/** The edits with the feature's edit added, replaced or, where `edit` is undefined, removed. */
export function withEdit(edits: readonly FeatureEdit[], feature: number, edit: FeatureEdit | undefined): FeatureEdit[] {
  const at = edits.findIndex((one) => one.feature === feature)
  if (!edit) return edits.filter((one) => one.feature !== feature)
  return at < 0 ? [...edits, edit] : edits.map((one, i) => (i === at ? edit : one))
}

/** What an edit does: "ablated", "× 0.5", "= 12", "+ 3". */
export function describeEdit({ operation, value }: FeatureEdit): string {
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
