/** Metrics that exist once per class, such as "AUROC Bullish", as groups. */

import type { MetricInfo } from '../interpAPI'

export interface ClassMetric {
  /** The metric's label without the class: "AUROC". */
  group: string
  /** The class's index. */
  label: number
}

/**
 * The metrics that name a class at the start or end of their label, by name. A group counts only if it has a metric of
 * every class, so that a metric which happens to end in the name of a class stays as it is.
 */
export function classMetrics(metrics: readonly Pick<MetricInfo, 'name' | 'label'>[], labels: readonly string[]): Map<string, ClassMetric> {
  const groups = new Map<string, Map<string, number>>()
  for (const metric of metrics) {
    const found = classOf(metric.label, labels)
    if (!found) continue
    const members = groups.get(found.group) ?? new Map<string, number>()
    groups.set(found.group, members.set(metric.name, found.label))
  }
  const whole = [...groups].filter(([, members]) => new Set(members.values()).size === labels.length)
  return new Map(whole.flatMap(([group, members]) => [...members].map(([name, label]) => [name, { group, label }] as const)))
}

/** The longest class name at the start or end of a metric's label, and the rest of the label. */
function classOf(label: string, labels: readonly string[]): ClassMetric | undefined {
  let best: ClassMetric | undefined
  let longest = 0
  labels.forEach((name, index) => {
    if (name.length <= longest || name.length >= label.length) return
    const rest = label.startsWith(`${name} `) ? label.slice(name.length) : label.endsWith(` ${name}`) ? label.slice(0, -name.length) : ''
    if (!rest.trim()) return
    best = { group: capital(rest.trim()), label: index }
    longest = name.length
  })
  return best
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1)
}
