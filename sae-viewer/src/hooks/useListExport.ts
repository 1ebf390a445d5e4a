import { useEffect, useRef, useState } from 'react'
import { get, type FeaturesQuery, type HeadlinesQuery } from '../interpAPI'
import { csv, saveFile, type Row } from '../lib/download'

/** Items that one request asks for: the most that the API allows. */
const PAGE = 500

export interface ListPage<Item> {
  total: number
  items: Item[]
}

/** A function that asks for the page of a query's headlines from `offset` on. */
export const headlinePages = (query: HeadlinesQuery) => async (offset: number, signal: AbortSignal) => {
  const page = await get('/api/headlines', { ...query, offset, limit: PAGE }, signal)
  return { total: page.total, items: page.headlines }
}

/** A function that asks for the page of a query's features from `offset` on. */
export const featurePages = (query: FeaturesQuery) => async (offset: number, signal: AbortSignal) => {
  const page = await get('/api/features', { ...query, offset, limit: PAGE }, signal)
  return { total: page.total, items: page.features }
}

/** Saves a whole list, collected page by page, with its progress and a way to stop. */
export function useListExport<Item>(name: string, pages: (offset: number, signal: AbortSignal) => Promise<ListPage<Item>>, row: (item: Item) => Row) {
  const [progress, setProgress] = useState<{ done: number; total: number }>()
  const stop = useRef<AbortController>(undefined)
  useEffect(() => () => stop.current?.abort(), [])

  async function collect(): Promise<Item[]> {
    const { signal } = (stop.current = new AbortController())
    const items: Item[] = []
    try {
      for (let total = 1; items.length < total; ) {
        const page = await pages(items.length, signal)
        items.push(...page.items)
        total = page.items.length > 0 ? page.total : items.length
        setProgress({ done: items.length, total })
      }
      return items
    } finally {
      setProgress(undefined)
    }
  }
  async function save(format: 'csv' | 'json') {
    try {
      const items = await collect()
      if (format === 'csv') saveFile(`${name}.csv`, csv(items.map(row)), 'text/csv')
      else saveFile(`${name}.json`, JSON.stringify(items), 'application/json')
    } catch (error) {
      if (!stop.current?.signal.aborted) throw error
    }
  }
  return { progress, save, stop: () => stop.current?.abort() }
}
