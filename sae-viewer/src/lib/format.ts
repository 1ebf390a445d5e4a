/** Numbers as text: three significant digits, grouped thousands, units of metrics. */

const grouped = new Intl.NumberFormat('en-US')
const date = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'short' })

/** A whole number with grouped thousands: "2,377". */
export function count(n: number): string {
  return grouped.format(n)
}

/** `count` with its noun: "1 headline", "2,377 headlines". */
export function counted(n: number, noun: string): string {
  return `${count(n)} ${noun}${n === 1 ? '' : 's'}`
}

/** A number with three significant digits: "0.0541", "7.63", "127", "12,300"; below 0.001 as "5.4e−5". */
export function number(x: number): string {
  if (x === 0) return '0'
  const size = Math.abs(x)
  if (size < 1e-3 || size >= 1e9) return x.toExponential(1).replace('e+', 'e').replaceAll('-', '−')
  const rounded = Number(x.toPrecision(3))
  const digits = Math.min(6, Math.max(0, 2 - Math.floor(Math.log10(Math.abs(rounded)))))
  return new Intl.NumberFormat('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits })
    .format(rounded)
    .replace('-', '−')
}

/** `number` with its sign: "+0.41", "−2.3". */
export function signed(x: number): string {
  return x > 0 ? `+${number(x)}` : number(x)
}

/** A share as a percentage with one decimal; "0.0 %" and "100.0 %" mean exactly none and all. */
export function percent(share: number): string {
  if (share > 0 && share < 0.0005) return '<0.1 %'
  if (share < 1 && share > 0.9995) return '>99.9 %'
  return `${(share * 100).toFixed(1)} %`
}

/** A change of a share in percentage points, with its sign: "−1.25". */
export function inPoints(change: number): string {
  return `${change < 0 ? '−' : '+'}${Math.abs(100 * change).toFixed(2)}`
}

/** A share that may be very small: below one per cent with two significant digits, as in "0.0024 %". */
export function rarity(share: number): string {
  const parts = 100 * share
  if (share === 0 || parts >= 1) return percent(share)
  return parts < 1e-5 ? '<0.00001 %' : `${parts.toFixed(Math.min(7, 1 - Math.floor(Math.log10(parts))))} %`
}

/** An ISO time in the reader's time zone; other text stays as it is. */
export function when(iso: string): string {
  const time = new Date(iso)
  return Number.isNaN(time.getTime()) ? iso : date.format(time)
}

/** The unit of a metric; empty for dimensionless metrics and for the user's own. */
export function metricUnit(name: string): string {
  if (/^(mean|max|min|std)_activation$/.test(name)) return 'f'
  if (/^(effect|ablation)_/.test(name)) return 'logit'
  return name === 'entropy' || name === 'mutual_information' ? 'bits' : ''
}

/** A metric's value: shares as percentages, their difference in percentage points, AUROC with two decimals, counts without any, all others with significant digits. */
export function metricValue(name: string, value: number): string {
  if (name.startsWith('auroc_')) return value.toFixed(2)
  if (name === 'found_in_seeds') return count(value)
  if (name === 'slice_difference') return `${value > 0 ? '+' : value < 0 ? '−' : ''}${percent(Math.abs(value)).replace('%', 'pp')}`
  return /^(fraction|share|slice)_/.test(name) ? percent(value) : number(value)
}
