import { createServer, type AddressInfo } from 'node:net'

/** A port of this machine on which nothing listens. */
export async function freePort(): Promise<number> {
  const probe = createServer()
  await new Promise<void>((done) => probe.listen(0, '127.0.0.1', done))
  const { port } = probe.address() as AddressInfo
  await new Promise((done) => probe.close(done))
  return port
}

/**
 * The port that the environment names, else a free one. It is kept in the environment, because every worker reads
 * the configuration anew and must find the same port.
 */
export async function portFor(name: string): Promise<number> {
  process.env[name] ??= String(await freePort())
  return Number(process.env[name])
}
