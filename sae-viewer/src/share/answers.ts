/** Answers to the viewer's questions from a shared run, equal to those of the server. */

import { SHARED_MODEL } from '../base'
import { ApiError, type FeaturesQuery, type HeadlinesQuery, type MapAnswer, type Probe } from '../interpAPI'
import { Archive, type Manifest } from './archive'
import type { Bench } from './bench/answers'
import { blocksOfPage, fromHost, fromMemory, unpacked } from './bytes'
import { columnValues } from './columns'
import { featureInfo, featuresPage } from './features'
import { confusion, headlinesPage, similarHeadlines } from './headlines'
import { refusal, SharedRun } from './shared'

type Answer = (run: SharedRun, query: never) => Promise<unknown>

const ANSWERS: Record<string, Answer> = {
  '/api/headlines': (run, query: HeadlinesQuery) => headlinesPage(run, query),
  '/api/confusion': (run, query: HeadlinesQuery) => confusion(run, query),
  '/api/similar_headlines': (run, query: { headline: number; limit?: number }) => similarHeadlines(run, query),
  '/api/column_values': (run, query: { column: string; q?: string; limit?: number }) => columnValues(run, query),
  '/api/features': (run, query: FeaturesQuery) => featuresPage(run, query),
  '/api/map': (run) => run.archive.part<MapAnswer>('map'),
  '/api/feature_info': (run, query: { id: number }) => featureInfo(run, query),
}

/** What a bench answers; the other questions about any text need the server. */
const OF_BENCH = { '/api/probe': 'probe', '/api/intervene': 'intervene', '/api/flip': 'flip' } as const

/** The answer of a shared run to `GET path` or `POST path`. Throws `ApiError` where the server would refuse. */
export async function answer(run: SharedRun, path: string, query: Record<string, unknown>): Promise<unknown> {
  const { run: wanted, ...rest } = query
  const { run_id, folder } = run.facts
  if (typeof wanted === 'string' && wanted && ![run_id, folder, String(Number(run_id.slice(4)))].includes(wanted)) {
    throw refusal(404, 'unknown_run', `This page holds ${run_id} only; other runs need the server.`)
  }
  const kept = run.answers[path]
  if (kept) {
    if (kept.status === 200) return kept.body
    const { code, message } = (kept.body as { error: { code: string; message: string } }).error
    throw refusal(kept.status, code, message)
  }
  if (path in OF_BENCH && SHARED_MODEL !== undefined) {
    const asked = OF_BENCH[path as keyof typeof OF_BENCH]
    const answered = await (await benchOf(run, SHARED_MODEL))[asked](rest as never)
    return 'found_names' in answered ? { ...answered, found_names: await namesOf(run, answered.features) } : answered
  }
  const given = ANSWERS[path]
  if (!given) throw refusal(404, 'needs_server', 'This needs the server; the page holds one run and no model.')
  return given(run, rest as never)
}

/** The found names of features, by feature. */
async function namesOf(run: SharedRun, features: readonly { feature: number }[]): Promise<Probe['found_names']> {
  const names = await run.foundNames()
  return Object.fromEntries(features.flatMap(({ feature }) => (names[feature] ? [[feature, names[feature]]] : [])))
}

let bench: Promise<Bench> | undefined

/** The run's model, which is fetched with the first question about a text, and again where that failed. */
function benchOf(run: SharedRun, place: string): Promise<Bench> {
  bench ??= import('./bench/answers').then((module) => module.Bench.open(place, run.facts))
  bench.catch(() => (bench = undefined))
  return bench
}

/** Opens the run that the page holds, or that lies beside it at `source`. */
export async function openRun(source: string): Promise<SharedRun> {
  if (source.startsWith('#')) {
    const [manifest = new Uint8Array(), ...packs] = blocksOfPage()
    return SharedRun.open(new Archive((await unpacked(manifest)) as Manifest, fromMemory(packs)))
  }
  const address = new URL(source, document.baseURI)
  const response = await fetch(address, { cache: 'no-cache' }).catch(() => undefined)
  if (!response?.ok) throw new ApiError('down', 'The host of this page does not send its data.', response?.status)
  const manifest = (await response.json().catch(() => undefined)) as Manifest | undefined
  if (!manifest) throw new ApiError('broken', 'The data beside this page are cut off or of another program; copy the whole folder again.')
  return SharedRun.open(new Archive(manifest, fromHost(new URL(manifest.folder ?? '', address).href, manifest.packs)))
}
