import { afterEach, describe, expect, it, vi } from 'vitest'
import { ApiError, get, post, putLabels } from './interpAPI'

vi.hoisted(() => vi.stubGlobal('document', { baseURI: 'http://viewer.test/under/a/prefix/', querySelector: () => null }))

function answer(body: string | null, status = 200) {
  const fetch = vi.fn<(request: Request) => Promise<Response>>(() => Promise.resolve(new Response(body, { status })))
  vi.stubGlobal('fetch', fetch)
  return fetch
}
const failure = async (promise: Promise<unknown>) => {
  const error: unknown = await promise.then(() => undefined, (reason: unknown) => reason)
  if (!(error instanceof ApiError)) throw new Error(`no ApiError but ${String(error)}`)
  return error
}

afterEach(() => vi.unstubAllGlobals())

describe('get', () => {
  it('sends the parameters that are given and leaves out empty ones', async () => {
    const fetch = answer('{"status":"ok"}')
    await get('/api/headlines', { q: 'a&b 100%', label: 0, correct: false, feature: undefined, run: '', limit: 50 })
    expect(fetch.mock.calls[0]?.[0].url).toBe('http://viewer.test/under/a/prefix/api/headlines?q=a%26b+100%25&label=0&correct=false&limit=50')
    await get('/api/health', {})
    expect(fetch.mock.calls[1]?.[0].url).toBe('http://viewer.test/under/a/prefix/api/health')
  })
  it('throws the API’s own error', async () => {
    answer('{"error":{"code":"unknown_feature","message":"There is no feature 9."}}', 404)
    const error = await failure(get('/api/feature_info', { id: 9 }))
    expect(error).toMatchObject({ kind: 'refused', status: 404, code: 'unknown_feature', message: 'There is no feature 9.' })
    expect(error.passes).toBe(false)
  })
  it('distinguishes an API that is down from one that refuses', async () => {
    vi.stubGlobal('fetch', () => Promise.reject(new TypeError('Failed to fetch')))
    expect(await failure(get('/api/health', {}))).toMatchObject({ kind: 'down', passes: true })
    answer('', 500) // the development server’s proxy before a stopped API
    expect(await failure(get('/api/health', {}))).toMatchObject({ kind: 'down', passes: true })
    answer('{"error":{"code":"internal_error","message":"The server made a mistake."}}', 500)
    expect(await failure(get('/api/health', {}))).toMatchObject({ kind: 'refused', passes: true })
  })
  it('notices an answer that is cut off or comes from another program', async () => {
    answer('{"run_id": "run-0')
    expect(await failure(get('/api/run', {}))).toMatchObject({ kind: 'broken', passes: true })
    answer('<!doctype html>')
    expect(await failure(get('/api/run', {}))).toMatchObject({ kind: 'broken', passes: true })
  })
  it('gives the status of an error without a message', async () => {
    answer('[]', 418)
    expect((await failure(get('/api/run', {}))).message).toContain('418')
  })
  it('throws an abort as it is', async () => {
    const controller = new AbortController()
    controller.abort()
    vi.stubGlobal('fetch', ({ signal }: Request) => Promise.reject(signal.reason as Error))
    await expect(get('/api/health', {}, controller.signal)).rejects.toMatchObject({ name: 'AbortError' })
  })
})

it('post sends its body as JSON', async () => {
  const fetch = answer('{"steps":[]}')
  const body = { run: 'run-001', text: 'up', target: null, level: 0, max_size: 20 } as const
  expect(await post('/api/flip', body)).toEqual({ steps: [] })
  const request = fetch.mock.calls[0]?.[0]
  expect(request).toMatchObject({ method: 'POST', url: 'http://viewer.test/under/a/prefix/api/flip' })
  expect(request?.headers.get('Content-Type')).toBe('application/json')
  expect(await request?.json()).toEqual(body)
})

it('putLabels names the labels that it replaces, and is refused where they have changed', async () => {
  const fetch = answer('{"error":{"code":"labels_changed","message":"The labels have changed."}}', 412)
  const change = { labels: { 7: { name: 'cuts', starred: false, note: '', updated_at: null } }, sets: null }
  expect(await failure(putLabels('run-001', change, 'abc'))).toMatchObject({ kind: 'refused', status: 412, code: 'labels_changed' })
  const request = fetch.mock.calls[0]?.[0]
  expect(request).toMatchObject({ method: 'PUT', url: 'http://viewer.test/under/a/prefix/api/labels?run=run-001' })
  expect(request?.headers.get('If-Match')).toBe('"abc"')
  expect(await request?.json()).toEqual(change)
})
