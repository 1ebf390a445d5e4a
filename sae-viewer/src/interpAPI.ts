/** The client of the API, typed by its OpenAPI description (`npm run gen-types`), and the ways in which it can fail. */

import createClient, { type ClientPathsWithMethod, type FetchOptions, type MethodResponse } from 'openapi-fetch'
import type { components, paths } from './api.gen'
import { wholeAddress } from './base'

type Schemas = components['schemas']
export type Prompt = Schemas['Prompt']
export type Headline = Schemas['Headline']
export type HeadlinesPage = Schemas['HeadlinesPage']
export type FiredFeature = Schemas['FiredFeature']
export type FoundName = Schemas['FoundName']
export type FeatureRow = Schemas['FeatureRow']
export type FeaturesPage = Schemas['FeaturesPage']
export type FeatureInfo = Schemas['FeatureInfo']
export type ExampleGroup = Schemas['ExampleGroupAnswer']
/** A feature within one class of headlines. */
export type ClassStatistics = Schemas['ClassSplit']
export type FiredWord = Schemas['FiredWord']
export type SimilarFeature = Schemas['SimilarFeature']
export type FamilyMatch = Schemas['FamilyMatch']
export type MapAnswer = Schemas['MapAnswer']
export type MapColumn = Schemas['MapColumn']
export type MapRegion = Schemas['MapRegion']
export type NearestExample = Schemas['NearestExample']
export type FeatureStat = Schemas['FeatureStat']
export type FeatureDensity = Schemas['FeatureDensity']
export type SimilarHeadline = Schemas['SimilarHeadline']
/** A column of the table beside text and label. */
export type Column = Schemas['ColumnFacts']
export type Cell = Prompt['columns'][string]
export type Histogram = Schemas['Histogram']
export type MetricInfo = Schemas['MetricInfo']
export type RunMetadata = Schemas['RunMetadata']
/** The metadata of a run, and a sentence for each file that is damaged and left out. */
export type Run = Schemas['RunAnswer']
export type RunSummary = Schemas['RunSummary']
export type SaeReport = Schemas['SaeReport']
export type HeadlineEffects = Schemas['HeadlineEffects']
export type InterventionsAnswer = Schemas['InterventionsAnswer']
export type Agreement = Schemas['Agreement']
export type Unflipped = Schemas['Unflipped']
export type Probe = Schemas['ProbeAnswer']
export type LiveFeature = Schemas['LiveFeature']
export type LivePrediction = Schemas['LivePrediction']
export type Intervention = Schemas['InterveneAnswer']
export type Flip = Schemas['FlipAnswer']
export type Audit = Schemas['AuditAnswer']
export type FeatureLabel = Schemas['FeatureLabel']
export type LabelsAnswer = Schemas['LabelsAnswer']
export type LabelsChange = Schemas['LabelsChange']
export type SetAnswer = Schemas['SetAnswer']
export type SetInMember = Schemas['SetInMember']
export type FeatureCard = Schemas['FeatureCard']
export type CardSection = Schemas['CardSection']
export type CardTable = Schemas['CardTable']
export type CardExample = Schemas['CardExample']
export type CompareAnswer = Schemas['CompareAnswer']
export type EvidenceAnswer = Schemas['EvidenceAnswer']
export type ContrastAnswer = Schemas['ContrastAnswer']
export type CalibrationAnswer = Schemas['CalibrationAnswer']
export type DiffAnswer = Schemas['DiffAnswer']
export type DiffFeature = Schemas['DiffFeature']
export type MendingAnswer = Schemas['MendingAnswer']
export type MendingChange = Schemas['Change']
export type LayersFile = Schemas['LayersFile']
export type KindOfChange = Schemas['KindOfChange']
export type ShareOfPairs = Schemas['ShareOfPairs']
export type MovedFeature = Schemas['MovedFeature']
export type ContrastPair = Schemas['ContrastPair']

type GetPath = ClientPathsWithMethod<Client, 'get'>
type PostPath = ClientPathsWithMethod<Client, 'post'>
/** The parameters of `GET path`. Those that are undefined, null or empty are left out of the request. */
type Query<P extends GetPath> = [Parameters<P>] extends [never] ? object : { [K in keyof Parameters<P>]: Parameters<P>[K] | undefined }
type Parameters<P extends GetPath> = paths[P]['get'] extends { parameters: { query?: infer Q } } ? NonNullable<Q> : never
type Body<P extends PostPath> = FetchOptions<paths[P]['post']>['body']

export type HeadlinesQuery = Query<'/api/headlines'>
export type FeaturesQuery = Query<'/api/features'>

/**
 * `down`: the API does not answer. `broken`: an answer came that cannot be read. `refused`: the API answers with an
 * error; `code` and the message are its own.
 */
export type ApiErrorKind = 'down' | 'broken' | 'refused'

export class ApiError extends Error {
  constructor(
    readonly kind: ApiErrorKind,
    message: string,
    readonly status = 0,
    readonly code = '',
  ) {
    super(message)
    this.name = 'ApiError'
  }

  /** Whether the same request may succeed later without anything done by the reader. */
  get passes(): boolean {
    return this.kind !== 'refused' || this.status >= 500
  }
}

/** How the API is started, for the sentence that says that it does not answer. */
export const START_COMMAND = 'python viz_analysis/feature_probe_server.py'
const TIMEOUT_MS = 30_000

type Client = typeof client
const client = createClient<paths>({
  baseUrl: wholeAddress(''),
  querySerializer: (query) => {
    const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== '')
    // A list repeats its name.
    return new URLSearchParams(given.flatMap(([name, value]) => [value].flat().map((one) => [name, String(one)]))).toString()
  },
})

// `as never` below: TypeScript cannot infer the client's options for a path that is itself a type parameter.

/** Answers a question, a query or a body, in the place of the API. Throws `ApiError`. */
export type Source = (path: GetPath | PostPath, question: object) => Promise<unknown>
let source: Source | undefined

/** Takes all answers from a shared run, so that no API is asked. */
export function answerFrom(shared: Source): void {
  source = shared
}

/** Answers `GET path`. Throws `ApiError`; an abort by `signal` is thrown as it is. */
export function get<P extends GetPath>(path: P, query: Query<P>, signal?: AbortSignal): Promise<MethodResponse<Client, 'get', P>> {
  if (source) return answerOf<MethodResponse<Client, 'get', P>>(source(path, query), signal)
  return ask((init) => client.GET(path, { params: { query }, ...init } as never), signal)
}

/** Answers `POST path` with a JSON body; otherwise like `get`. */
export function post<P extends PostPath>(path: P, body: Body<P>, signal?: AbortSignal): Promise<MethodResponse<Client, 'post', P>> {
  if (source) return answerOf<MethodResponse<Client, 'post', P>>(source(path, body as object), signal)
  return ask((init) => client.POST(path, { body, ...init } as never), signal)
}

/**
 * Replaces the labels of a run's SAE and, unless they are null, its sets, given the ETag of what was read. The API
 * refuses with status 412 where something has changed since.
 */
export function putLabels(run: string, body: LabelsChange, etag: string): Promise<LabelsAnswer> {
  return ask((init) => client.PUT('/api/labels', { params: { query: { run } }, headers: { 'If-Match': `"${etag}"` }, body, ...init }))
}

async function answerOf<T>(asked: Promise<unknown>, signal?: AbortSignal): Promise<T> {
  try {
    return (await asked) as T
  } catch (error) {
    throw error instanceof ApiError ? error : new ApiError('broken', `The shared run cannot be read (${String(error)}).`)
  } finally {
    signal?.throwIfAborted()
  }
}

interface Init {
  signal: AbortSignal
  fetch: (request: Request) => Promise<Response>
}
interface Answered<T> {
  data?: T
  error?: unknown
}

/** Sends a request of the client and sorts its failures into the three kinds of `ApiError`. */
async function ask<T>(send: (init: Init) => Promise<Answered<T>>, signal?: AbortSignal): Promise<T> {
  const timeout = AbortSignal.timeout(TIMEOUT_MS)
  let status = 0
  const init: Init = {
    signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
    fetch: async (request) => {
      try {
        const response = await fetch(request)
        status = response.status
        return response
      } catch (error) {
        if (signal?.aborted) throw error
        throw new ApiError('down', timeout.aborted ? 'The API did not answer within 30 seconds.' : 'The API does not answer.')
      }
    },
  }
  let answer: Answered<T> = {}
  try {
    answer = await send(init)
  } catch (error) {
    if (signal?.aborted || error instanceof ApiError) throw error
    // The body is cut off or is no JSON: `answer` stays empty.
  }
  if (answer.data !== undefined) return answer.data
  if (typeof answer.error === 'object' && answer.error !== null) {
    const { message, code } = (answer.error as Partial<Schemas['ErrorAnswer']>).error ?? {}
    throw new ApiError('refused', message ?? `The API answered with status ${status}.`, status, code)
  }
  // A proxy in front of a stopped API answers 5xx without the API's JSON.
  if (status >= 500) throw new ApiError('down', 'The API does not answer.', status)
  throw new ApiError('broken', 'The API’s answer was cut off or comes from another program.', status)
}
