import type { UseQueryResult } from '@tanstack/react-query'
import type { ReactNode } from 'react'
import { WithCommands } from '../../components/Notices'
import { SaveButtons } from '../../components/SaveButtons'
import { csv, saveFile, type Row } from '../../lib/download'
import { Section } from './Section'

/** What a verb found about a run: a part of the panel with buttons that save it, or the command that finds it. */
export function Finding<T extends { run_id: string }>({ title, answer, none, what, table, children }: {
  title: string
  answer: UseQueryResult<T>
  /** The code of the error where the verb has not run. */
  none: string
  /** What the buttons save. */
  what: string
  /** The name of the CSV file, without run and ending, and its rows. */
  table: { name: string; rows: (file: T) => Row[] }
  children: (file: T) => ReactNode
}) {
  const { data, error } = answer
  return (
    <Section
      title={title}
      className="md:col-span-2"
      aside={
        data && (
          <SaveButtons
            what={what}
            ways={{
              CSV: () => saveFile(`${data.run_id}-${table.name}.csv`, csv(table.rows(data)), 'text/csv'),
              JSON: () => saveFile(`${data.run_id}-${none.replace('no_', '')}.json`, JSON.stringify(data, null, 2), 'application/json'),
            }}
          />
        )
      }
    >
      {error ? (
        <p className={error.code === none ? 'text-soft' : 'text-wrong'}>
          <WithCommands>{error.message}</WithCommands>
        </p>
      ) : data ? (
        children(data)
      ) : (
        <span className="skeleton block h-40" />
      )}
    </Section>
  )
}
