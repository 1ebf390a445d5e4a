import { afterEach, describe, expect, it, vi } from 'vitest'
import { ApiError, get } from './interpAPI'

function answer(body: string | null, status = 200) {
  const fetch = vi.fn<(input: string) => Promise<Response>>(() => Promise.resolve(new Response(body, { status })))
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
  it('asks for what is given, and for nothing that is not', async () => {
    const fetch = answer('{"status":"ok"}')
    await get('/api/headlines', { q: 'a&b 100%', label: 0, correct: false, feature: undefined, run: '', limit: 50 })
    expect(fetch.mock.calls[0]?.[0]).toBe('/api/headlines?q=a%26b+100%25&label=0&correct=false&limit=50')
    await get('/api/health', {})
    expect(fetch.mock.calls[1]?.[0]).toBe('/api/health')
  })
  it('passes on what the API says', async () => {
    answer('{"error":{"code":"unknown_feature","message":"There is no feature 9."}}', 404)
    const error = await failure(get('/api/feature_info', { id: 9 }))
    expect(error).toMatchObject({ kind: 'refused', status: 404, code: 'unknown_feature', message: 'There is no feature 9.' })
    expect(error.passes).toBe(false)
  })
  it('tells a dead API from one that refuses', async () => {
    vi.stubGlobal('fetch', () => Promise.reject(new TypeError('Failed to fetch')))
    expect(await failure(get('/api/health', {}))).toMatchObject({ kind: 'down', passes: true })
    answer('', 500) // the development server’s proxy before a dead API
    expect(await failure(get('/api/health', {}))).toMatchObject({ kind: 'down', passes: true })
    answer('{"error":{"code":"internal_error","message":"The server made a mistake."}}', 500)
    expect(await failure(get('/api/health', {}))).toMatchObject({ kind: 'refused', passes: true })
  })
  it('notices an answer that was cut off or is another program’s', async () => {
    answer('{"run_id": "run-0')
    expect(await failure(get('/api/run', {}))).toMatchObject({ kind: 'broken', passes: true })
    answer('<!doctype html>')
    expect(await failure(get('/api/run', {}))).toMatchObject({ kind: 'broken', passes: true })
  })
  it('says the status where the error has no words', async () => {
    answer('[]', 418)
    expect((await failure(get('/api/run', {}))).message).toContain('418')
  })
  it('lets an abort through as an abort', async () => {
    const controller = new AbortController()
    controller.abort()
    vi.stubGlobal('fetch', (_: string, { signal }: RequestInit) => Promise.reject(signal?.reason as Error))
    await expect(get('/api/health', {}, controller.signal)).rejects.toMatchObject({ name: 'AbortError' })
  })
})
