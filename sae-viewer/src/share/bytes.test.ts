import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, it, vi } from 'vitest'
import { fromHost } from './bytes'

vi.hoisted(() => vi.stubGlobal('document', { baseURI: 'http://viewer.test/', querySelector: () => null }))

it('asks once for a pack that is sent whole, even after ranges of another', async () => {
  const packs = [0, 1].map((pack) => Buffer.alloc(100_000, pack + 1))
  const asked: string[] = []
  // A pack that the browser's cache has comes in ranges; the host itself sends whole files.
  const host = createServer(({ url = '', headers }, response) => {
    asked.push(url)
    const [, from, to] = /(\d+)-(\d+)/.exec(headers.range ?? '') ?? []
    if (url === '/0.bin') response.writeHead(206).end(packs[0]?.subarray(Number(from), Number(to) + 1))
    else response.end(packs[1])
  })
  await new Promise<void>((done) => host.listen(0, '127.0.0.1', done))
  const read = fromHost(`http://127.0.0.1:${(host.address() as AddressInfo).port}`, [100_000, 100_000])
  await read([[0, 3]])
  const found = await read([[5, 7], [100_000, 100_002], [150_000, 150_002], [199_998, 200_000]])
  host.close()
  expect(found.map((bytes) => [...bytes])).toEqual([[1, 1], [2, 2], [2, 2], [2, 2]])
  expect(asked.sort()).toEqual(['/0.bin', '/0.bin', '/1.bin'])
})
