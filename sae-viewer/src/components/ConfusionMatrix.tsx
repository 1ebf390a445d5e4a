import type { ReactNode } from 'react'
import { className, isMany, largestConfusions } from '../lib/classes'
import { count } from '../lib/format'
import { ClassMark } from './Outcome'

/** A true class and a predicted class, either of which may be any. */
export interface Pair {
  label: number | undefined
  prediction: number | undefined
}

/** What makes a matrix a filter: a cell chooses label and prediction, a heading one of them. */
interface Filter {
  chosen: Pair
  correct: boolean | undefined
  onChoose: (pair: Pair) => void
}

/** The most classes of which every confusion is seen at a glance, and whose columns have room for a name. */
export const FEW = 4
/** How many of the largest confusions have a frame, where there are more classes. */
const FRAMES = 5

/**
 * A confusion matrix, [label][prediction], in a box of its own that scrolls under its headings. Columns have names, or
 * marks that the rows explain, or for many classes vertical names; then cells without headlines stay empty.
 */
export function ConfusionMatrix({ labels, counts, filter }: {
  labels: readonly string[]
  /** Undefined while they are counted. */
  counts: readonly (readonly number[])[] | undefined
  filter?: Filter
}) {
  const most = Math.max(1, ...(counts ?? []).map((row) => Math.max(...row)))
  const framed = new Set(
    labels.length <= FEW ? [] : largestConfusions(counts ?? [], FRAMES).map(({ label, prediction }) => `${label} ${prediction}`),
  )
  const many = isMany(labels)
  const marksOnly = labels.length > FEW && !many
  const names = labels.map((_, index) => className(labels, index))
  return (
    <div
      role={filter ? 'group' : 'region'}
      aria-label={filter ? 'Filter by label and prediction' : 'Confusion matrix'}
      tabIndex={filter ? undefined : 0}
      className={`matrix ${many ? 'matrix-many' : marksOnly ? 'matrix-marks' : ''}`}
    >
      <table>
        <thead>
          <tr>
            <th scope="col" className="text-faint">
              <span className="block">predicted →</span>
              <span className="block">label ↓</span>
            </th>
            {names.map((name, prediction) => (
              <th key={prediction} scope="col" title={`Predicted ${name}`}>
                <Heading pair={{ label: undefined, prediction }} name={`Predicted ${name}`} filter={filter}>
                  <ClassMark labels={labels} index={prediction} />
                  <span className={marksOnly ? 'sr-only' : 'matrix-name'}>{name}</span>
                </Heading>
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {names.map((name, label) => (
            <tr key={label}>
              <th scope="row" title={`Label ${name}`}>
                <Heading pair={{ label, prediction: undefined }} name={`Label ${name}`} filter={filter}>
                  <ClassMark labels={labels} index={label} />
                  <span className="truncate">{name}</span>
                </Heading>
              </th>
              {names.map((predicted, prediction) => {
                const n = counts?.[label]?.[prediction]
                const included = !filter || includes(filter, label, prediction)
                const style = included && n ? { backgroundColor: shade(label === prediction, n / most) } : undefined
                const cell = { framed: framed.has(`${label} ${prediction}`) || undefined, style, text: n === undefined ? undefined : count(n) }
                return (
                  <td key={prediction} data-framed={cell.framed} style={style} className={included ? '' : 'text-faint'}>
                    {many && !n ? null : filter ? (
                      <CellButton filter={filter} pair={{ label, prediction }} name={`Label ${name}, predicted ${predicted}: ${cell.text ?? 'counting'}`}>
                        {cell.text ?? <span className="skeleton inline-block h-3 w-6" />}
                      </CellButton>
                    ) : (
                      cell.text
                    )}
                  </td>
                )
              })}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}

/** The name of a row or column; in a filter, a button for that class. */
function Heading({ pair, name, filter, children }: { pair: Pair; name: string; filter: Filter | undefined; children: ReactNode }) {
  if (!filter) return <span className="matrix-head">{children}</span>
  const { chosen, onChoose } = filter
  const isRow = pair.label !== undefined
  const pressed = isRow ? chosen.label === pair.label : chosen.prediction === pair.prediction
  return (
    <button
      type="button"
      aria-pressed={pressed}
      aria-label={name}
      onClick={() =>
        onChoose(
          isRow
            ? { label: pressed ? undefined : pair.label, prediction: chosen.prediction }
            : { label: chosen.label, prediction: pressed ? undefined : pair.prediction },
        )
      }
      className="matrix-head"
    >
      {children}
    </button>
  )
}

function CellButton({ filter: { chosen, onChoose }, pair, name, children }: { filter: Filter; pair: Pair; name: string; children: ReactNode }) {
  const pressed = chosen.label === pair.label && chosen.prediction === pair.prediction
  return (
    <button
      type="button"
      aria-pressed={pressed}
      aria-label={name}
      onClick={() => onChoose(pressed ? { label: undefined, prediction: undefined } : pair)}
      className="matrix-cell"
    >
      {children}
    </button>
  )
}

function includes({ chosen, correct }: Filter, label: number, prediction: number): boolean {
  return (
    (chosen.label ?? label) === label &&
    (chosen.prediction ?? prediction) === prediction &&
    (correct ?? label === prediction) === (label === prediction)
  )
}

/** The colour of a cell: green on the diagonal, red elsewhere, deeper where there are more headlines. */
function shade(correct: boolean, share: number): string {
  const color = correct ? 'var(--color-correct)' : 'var(--color-wrong)'
  return `color-mix(in oklab, ${color} ${6 + 26 * Math.sqrt(share)}%, var(--color-raised))`
}
