import { keepPreviousData, useQuery } from '@tanstack/react-query'
import { get, type Column, type RunMetadata } from '../interpAPI'

/** The table's columns beside text and label; undefined while they are asked for. */
export function useColumns(run: RunMetadata): Column[] | undefined {
  return useQuery({
    queryKey: ['columns', run.run_id],
    queryFn: async ({ signal }) => (await get('/api/columns', { run: run.run_id }, signal)).columns,
    enabled: run.columns.length > 0,
  }).data
}

/** The most frequent values of a column, or those that contain `q`. */
export function useColumnValues(run: string, column: string, q: string, limit: number) {
  return useQuery({
    queryKey: ['column values', run, column, q, limit],
    queryFn: ({ signal }) => get('/api/column_values', { run, column, q, limit }, signal),
    placeholderData: keepPreviousData,
  }).data
}
