import { useState } from 'react'
import { Choice } from '../../components/Choice'
import { SearchChoice } from '../../components/SearchChoice'
import { useColumns, useColumnValues } from '../../hooks/useColumns'
import { useDebounced } from '../../hooks/useDebounced'
import type { Column, RunMetadata } from '../../interpAPI'
import { cellText, rangeOf, readCondition, valuesOn, withConditions } from '../../lib/columns'
import { count } from '../../lib/format'
import { visible } from '../../lib/text'

/** Columns from which on their list has a search. */
const MANY_COLUMNS = 12
/** How many values of a column are listed. */
const VALUES = 6

/** Filters by the table's other columns: one column is chosen, and of it a range or some values. */
export function ColumnFilter({ run, where, onWhere }: {
  run: RunMetadata
  where: readonly string[]
  onWhere: (where: string[]) => void
}) {
  const columns = useColumns(run)
  const filtered = where.map((condition) => readCondition(condition, run.columns)?.column).find((name) => name !== undefined)
  const [chosen, setChosen] = useState<string>()
  const name = chosen ?? filtered ?? run.columns[0]
  if (name === undefined) return null
  const column = columns?.find((one) => one.name === name)
  const List = run.columns.length > MANY_COLUMNS ? SearchChoice : Choice
  const values = valuesOn(where, run.columns, name)
  const set = (next: string[]) => onWhere(withConditions(where, run.columns, name, next))
  return (
    <section aria-label="Filter by a column of the table" className="space-y-2">
      <List
        label="Column"
        value={name}
        options={run.columns.map((one) => ({ value: one, label: visible(one) }))}
        onChoose={setChosen}
      />
      {!column && <span className="skeleton block h-20" />}
      {column && column.kind !== 'text' && <RangeFields key={name} column={column} values={values} onValues={set} />}
      {column?.kind === 'text' && <Values key={name} run={run.run_id} column={column} values={values} onValues={set} />}
      {!!column?.n_empty && (
        <ValueButton text="no value" n={column.n_empty} pressed={values.includes('')} onToggle={() => set(toggled(values, ''))} />
      )}
    </section>
  )
}

function toggled(values: readonly string[], value: string): string[] {
  return values.includes(value) ? values.filter((one) => one !== value) : [...values, value]
}

/** The ends of a range of numbers or dates. */
function RangeFields({ column, values, onValues }: { column: Column; values: readonly string[]; onValues: (values: string[]) => void }) {
  const [low, high] = rangeOf(values)
  const others = values.filter((value) => !value.includes('..'))
  const set = (from: string, to: string) => onValues(from || to ? [...others, `${from}..${to}`] : others)
  const ends = [
    { name: 'from', value: low, bound: column.low, report: (text: string) => set(text, high) },
    { name: 'to', value: high, bound: column.high, report: (text: string) => set(low, text) },
  ]
  return (
    <div className="grid grid-cols-2 gap-2">
      {ends.map(({ name, value, bound, report }) => (
        <RangeField key={name} name={`${visible(column.name)}, ${name}`} label={name} value={value} bound={cellText(bound)} number={column.kind === 'number'} onValue={report} />
      ))}
    </div>
  )
}

function RangeField({ name, label, value, bound, number, onValue }: {
  name: string
  label: string
  value: string
  bound: string
  number: boolean
  onValue: (text: string) => void
}) {
  // An unfinished number, such as "-", is not reported.
  const { draft, type, commit } = useDebounced(value, (text) => (!number || text === '' || Number.isFinite(Number(text))) && onValue(text.trim()), 500)
  return (
    <label className="field flex items-center gap-1.5 px-2 text-sm outline-offset-2 outline-plum has-focus-visible:outline-2">
      <span className="text-xs text-faint">{label}</span>
      <input
        type="text"
        inputMode={number ? 'decimal' : 'text'}
        aria-label={name}
        placeholder={bound}
        maxLength={40}
        autoComplete="off"
        spellCheck={false}
        value={draft}
        onChange={(event) => type(event.target.value)}
        onKeyDown={(event) => event.key === 'Enter' && commit(draft)}
        className="h-full w-full min-w-0 bg-transparent outline-none!"
      />
    </label>
  )
}

/** The chosen values of a column and its most frequent ones, or those that are searched for. */
function Values({ run, column, values, onValues }: {
  run: string
  column: Column
  values: readonly string[]
  onValues: (values: string[]) => void
}) {
  const [q, setQ] = useState('')
  const { draft, type } = useDebounced(q, setQ)
  const answer = useColumnValues(run, column.name, q, VALUES)
  const found = (answer?.values ?? []).map(({ value, n_headlines }) => ({ value: String(value), n: n_headlines }))
  const others = values.filter((value) => value !== '' && !found.some((one) => one.value === value))
  const left = (answer?.total ?? 0) - found.length
  return (
    <div>
      {column.n_values > VALUES && (
        <input
          type="search"
          aria-label={`Search the values of ${visible(column.name)}`}
          placeholder={`Search ${count(column.n_values)} values`}
          maxLength={200}
          value={draft}
          onChange={(event) => type(event.target.value)}
          className="field mb-1 px-2.5 text-sm"
        />
      )}
      {others.map((value) => (
        <ValueButton key={value} text={visible(value)} n={undefined} pressed onToggle={() => onValues(toggled(values, value))} />
      ))}
      {found.map(({ value, n }) => (
        <ValueButton key={value} text={visible(value)} n={n} pressed={values.includes(value)} onToggle={() => onValues(toggled(values, value))} />
      ))}
      {answer && left > 0 && <p className="pt-1 text-xs text-faint">and {count(left)} more values</p>}
      {answer?.total === 0 && q && <p className="pt-1 text-xs text-soft">No value contains “{visible(q)}”.</p>}
    </div>
  )
}

function ValueButton({ text, n, pressed, onToggle }: { text: string; n: number | undefined; pressed: boolean; onToggle: () => void }) {
  return (
    <button
      type="button"
      role="checkbox"
      aria-checked={pressed}
      onClick={onToggle}
      className="flex w-full items-baseline justify-between gap-3 border-t border-line px-1 py-1 text-left text-xs hover:bg-sunk aria-checked:bg-sunk aria-checked:font-semibold"
    >
      <bdi className="min-w-0 truncate" title={text.slice(0, 200)}>{text}</bdi>
      {n !== undefined && <span className="text-faint tabular-nums">{count(n)}</span>}
    </button>
  )
}
