/** The API, typed by its OpenAPI description (`npm run gen-types`), and the ways in which it can fail. */

import type { components, paths } from './api.gen'

type Schemas = components['schemas']
export type Prompt = Schemas['Prompt']
export type Headline = Schemas['Headline']
export type HeadlinesPage = Schemas['HeadlinesPage']
export type FiredFeature = Schemas['FiredFeature']
export type FeatureRow = Schemas['FeatureRow']
export type FeaturesPage = Schemas['FeaturesPage']
export type FeatureInfo = Schemas['FeatureInfo']
export type ExampleGroup = Schemas['ExampleGroupAnswer']
export type ClassSplit = Schemas['ClassSplit']
export type FiredWord = Schemas['FiredWord']
export type SimilarFeature = Schemas['SimilarFeature']
export type FamilyMatch = Schemas['FamilyMatch']
export type FeatureStat = Schemas['FeatureStat']
export type FeatureDensity = Schemas['FeatureDensity']
export type SimilarHeadline = Schemas['SimilarHeadline']
export type Histogram = Schemas['Histogram']
export type MetricInfo = Schemas['MetricInfo']
export type RunMetadata = Schemas['RunMetadata']
export type RunSummary = Schemas['RunSummary']
export type SaeReport = Schemas['SaeReport']
export type HeadlineEffects = Schemas['HeadlineEffects']
export type Probe = Schemas['ProbeAnswer']
export type LiveFeature = Schemas['LiveFeature']
export type LivePrediction = Schemas['LivePrediction']
export type Intervention = Schemas['InterveneAnswer']
export type Flip = Schemas['FlipAnswer']
export type Audit = Schemas['AuditAnswer']
export type FeatureLabel = Schemas['FeatureLabel']
export type LabelsAnswer = Schemas['LabelsAnswer']
export type CompareAnswer = Schemas['CompareAnswer']

type Path = { [P in keyof paths]: paths[P] extends { get: object } ? P : never }[keyof paths]
/** The parameters of `GET path`; undefined and empty ones are left out. */
type Query<P extends Path> = [Given<P>] extends [never] ? object : Loose<Given<P>>
type Given<P extends Path> = Get<P> extends { parameters: { query?: infer Q } } ? NonNullable<Q> : never
type Get<P extends Path> = paths[P] extends { get: infer G } ? G : never
type Value = string | number | boolean | null | undefined
type Loose<T> = { [K in keyof T]: T[K] | undefined }
type Json<T> = T extends { responses: { 200: { content: { 'application/json': infer A } } } } ? A : never
type Answer<P extends Path> = Json<Get<P>>
/** The endpoints that compute from a JSON body. */
type PostPath = { [P in keyof paths]: paths[P] extends { post: object } ? P : never }[keyof paths]
type Post<P extends PostPath> = paths[P] extends { post: infer G } ? G : never
export type Body<P extends PostPath> =
  Post<P> extends { requestBody: { content: { 'application/json': infer B } } } ? B : never
export type PostAnswer<P extends PostPath> = Json<Post<P>>

export type HeadlinesQuery = Query<'/api/headlines'>
export type FeaturesQuery = Query<'/api/features'>

/**
 * `down`: nothing that speaks for the API answers. `broken`: an answer came that cannot be read. `refused`: the
 * API says why not; `code` and the message are its own.
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

  /** Whether asking again can help without the reader doing anything. */
  get passes(): boolean {
    return this.kind !== 'refused' || this.status >= 500
  }
}

export const START_COMMAND = 'python viz_analysis/feature_probe_server.py'
const PATIENCE_MS = 30_000

/** GET `path`. Raises `ApiError`; an abort by `signal` passes through. */
export async function get<P extends Path>(
  path: P,
  query: Query<P>,
  signal?: AbortSignal,
): Promise<Answer<P>> {
  const address = new URLSearchParams()
  for (const [name, value] of Object.entries(query) as [string, Value][]) {
    if (value !== undefined && value !== null && value !== '') address.set(name, String(value))
  }
  return (await ask(`${path}${address.size ? `?${address}` : ''}`, {}, signal)) as Answer<P>
}

/** POST `body` to `path` as JSON; otherwise like `get`. */
export async function post<P extends PostPath>(path: P, body: Body<P>, signal?: AbortSignal): Promise<PostAnswer<P>> {
  const headers = { 'Content-Type': 'application/json' }
  return (await ask(path, { method: 'POST', headers, body: JSON.stringify(body) }, signal)) as PostAnswer<P>
}

/** Replace the labels of a run's SAE, given the ETag of those that were read. Refused with status 412 where they changed. */
export async function putLabels(run: string, labels: LabelsAnswer['labels'], etag: string): Promise<LabelsAnswer> {
  const headers = { 'Content-Type': 'application/json', 'If-Match': `"${etag}"` }
  const init = { method: 'PUT', headers, body: JSON.stringify({ labels }) }
  return (await ask(`/api/labels?${new URLSearchParams({ run })}`, init)) as LabelsAnswer
}

async function ask(address: string, init: RequestInit, signal?: AbortSignal): Promise<unknown> {
  const timeout = AbortSignal.timeout(PATIENCE_MS)
  const either = signal ? AbortSignal.any([signal, timeout]) : timeout
  let response: Response
  try {
    response = await fetch(address, { ...init, signal: either })
  } catch (error) {
    if (signal?.aborted) throw error
    const message = timeout.aborted ? 'The API did not answer within 30 seconds.' : 'The API does not answer.'
    throw new ApiError('down', message)
  }
  let body: unknown
  try {
    body = await response.json()
  } catch (error) {
    if (signal?.aborted) throw error
    // A proxy in front of a dead API answers 5xx without the API's JSON.
    if (response.status >= 500) throw new ApiError('down', 'The API does not answer.', response.status)
    throw new ApiError('broken', 'The API’s answer was cut off or is not its own.', response.status)
  }
  if (response.ok) return body
  const detail = (body as Partial<Schemas['ErrorAnswer']> | null)?.error
  const message = detail?.message ?? `The API answered with status ${response.status}.`
  throw new ApiError('refused', message, response.status, detail?.code)
}
