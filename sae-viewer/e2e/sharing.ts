/** Runs exported as a page and as a site, and static hosts for the site. */

import { execFileSync } from 'node:child_process'
import { readFileSync, statSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { extname, join, resolve } from 'node:path'
import { freePort } from './ports'

const ROOT = resolve('..')
const TYPES: Record<string, string> = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.json': 'application/json', '.svg': 'image/svg+xml', '.woff2': 'font/woff2' }

const PROGRAM = `
import sys
from pathlib import Path
from sae_pipeline.__main__ import main
from tests.support.hostile_runs import write_hostile_runs
from tests.support.indexed_runs import client_of, write_whole_run
from viz_analysis.web import viewer_files
folder, kind, build = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
analysis = folder / "analysis_data"
if kind == "hostile":
    write_hostile_runs(analysis)
else:
    days = {"day": ["2024-01-31", "2024-02-01", None], "size": [3, 1.5, -2]}
    write_whole_run(analysis, days, {n: {n % 7: [0.5, -0.3, -0.2], 9: [0.7, 0.1, -0.8]} for n in range(0, 60, 2)})
    client = client_of(analysis)
    seen = {"If-Match": client.get("/api/labels").json["etag"].join('""')}
    label = {"name": "Rate cuts", "starred": True, "note": "Fires on cuts."}
    assert client.put("/api/labels", json={"labels": {9: label}}, headers=seen).status_code == 200
viewer_files.VIEWER_DIR = build
for to, out in (("html", "run.html"), ("site", "site")):
    assert main(["export", "--root", str(folder), "--to", to, "--out", str(folder / out)]) == 0
`

/** Makes a run in a folder, and beside it `run.html` and the folder `site`, with the viewer that the tests have built. */
export function exportRun(folder: string, kind: 'whole' | 'hostile'): void {
  const python = join(ROOT, '.venv', 'bin', 'python')
  execFileSync(python, ['-c', PROGRAM, folder, kind, join(ROOT, 'build', 'viewer-e2e')], { cwd: ROOT })
}

/** A host of the files in a folder, under a prefix. It notes the bytes of every answer. */
export class StaticHost {
  readonly answers: { path: string; status: number; bytes: number }[] = []
  private server: Server | undefined

  constructor(
    private readonly folder: string,
    private readonly prefix: string,
    private readonly sendsRanges: boolean,
  ) {}

  /** Starts the host. Returns the address of the folder. */
  async start(): Promise<string> {
    const port = await freePort()
    this.server = createServer(({ url = '', headers }, response) => {
      const { status, body, type } = this.answer(decodeURI(url.split('?')[0] ?? ''), headers.range)
      this.answers.push({ path: url, status, bytes: body.length })
      response.writeHead(status, { 'Content-Type': type, 'Content-Length': body.length }).end(body)
    })
    await new Promise<void>((done) => this.server?.listen(port, '127.0.0.1', done))
    return `http://127.0.0.1:${port}${this.prefix}/`
  }

  stop(): void {
    this.server?.close()
  }

  private answer(path: string, range: string | undefined): { status: number; body: Buffer; type: string } {
    const file = join(this.folder, path.slice(this.prefix.length).replace(/\/$/, '/index.html'))
    const type = TYPES[extname(file)] ?? 'application/octet-stream'
    if (!path.startsWith(`${this.prefix}/`) || !statSync(file, { throwIfNoEntry: false })?.isFile()) {
      return { status: 404, body: Buffer.from('nothing here'), type: 'text/plain' }
    }
    const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(range ?? '') ?? []
    const body = readFileSync(file)
    if (!this.sendsRanges || from === undefined) return { status: 200, body, type }
    return { status: 206, body: body.subarray(Number(from), Number(to) + 1), type }
  }
}
