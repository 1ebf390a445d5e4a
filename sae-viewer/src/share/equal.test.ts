/**
 * The answers of a shared run beside those of the server. `tests/viz_analysis/test_share.py` writes the cases: a site
 * and questions with the server's answers in each folder.
 */

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it, vi } from 'vitest'
import { ApiError } from '../interpAPI'
import { answer } from './answers'
import { Archive, type Manifest } from './archive'
import { fromMemory, unpacked } from './bytes'
import { SharedRun } from './shared'

vi.hoisted(() => vi.stubGlobal('document', { baseURI: 'http://viewer.test/', querySelector: () => null }))

interface Question {
  path: string
  query: Record<string, unknown>
  status: number
  body: Record<string, unknown>
}

const cases = (process.env['SHARED_CASES'] ?? '').split(':').filter(Boolean)

it.each(cases)('answers like the server: %s', async (folder) => {
  const read = (...path: string[]) => readFileSync(join(folder, ...path))
  const run = await SharedRun.open(existsSync(join(folder, 'site')) ? archiveOfSite(read) : await archiveOfPage(read))
  for (const { path, query, status, body } of JSON.parse(read('questions.json').toString()) as Question[]) {
    const found = await answer(run, path, query).then(
      (given) => ({ status: 200, body: withoutRuns(structuredClone(given)) }),
      (error: unknown) => {
        if (!(error instanceof ApiError)) throw error
        return { status: error.status, body: { error: { code: error.code, message: error.message } } }
      },
    )
    expect(found, `${path} ${JSON.stringify(query)}`).toStrictEqual({ status, body })
  }
}, 300_000) // ms, for a busy machine

it.skipIf(cases.length > 0)('is run by tests/viz_analysis/test_share.py, which makes its cases')

type Read = (...path: string[]) => Buffer

function archiveOfSite(read: Read): Archive {
  const manifest = JSON.parse(read('site', 'data', 'manifest.json').toString()) as Manifest
  const packs = manifest.packs.map((_, n) => new Uint8Array(read('site', 'data', manifest.folder ?? '', `${n}.bin`)))
  return new Archive(manifest, fromMemory(packs))
}

async function archiveOfPage(read: Read): Promise<Archive> {
  const found = [...read('run.html').toString().matchAll(/ data-archive>([^<]*)</g)].map(([, text = '']) => new Uint8Array(Buffer.from(text, 'base64')))
  const [manifest = new Uint8Array(), ...packs] = found
  return new Archive((await unpacked(manifest)) as Manifest, fromMemory(packs))
}

/** Counterparts in other runs are named by the server alone. */
function withoutRuns(body: unknown): unknown {
  for (const one of (body as { family?: { run_id: string | null }[] }).family ?? []) one.run_id = one.run_id && 'kept'
  return body
}
