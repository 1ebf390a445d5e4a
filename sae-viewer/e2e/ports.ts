/** Ports for the servers of the tests. */

import { createServer } from 'node:net'

// Below the ports that systems give to outgoing connections, one of which could take a port before its server does.
const FIRST = 20_000
const LAST = 32_000
const given = new Set<number>()

/** A port on which nothing listens. No worker gets one twice. */
export async function freePort(): Promise<number> {
  const port = FIRST + Math.floor(Math.random() * (LAST - FIRST))
  if (given.has(port) || !(await isFree(port))) return freePort()
  given.add(port)
  return port
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
      .once('error', () => resolve(false))
      .listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}

/**
 * The port that the environment names, else a free one. It is kept in the environment, because every worker reads
 * the configuration anew and must find the same port.
 */
export async function portFor(name: string): Promise<number> {
  process.env[name] ??= String(await freePort())
  return Number(process.env[name])
}
