/** A real nginx before servers of the viewer, and a real JupyterLab. */

import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { freePort, PYTHON, Server } from './api'

/** The program, also where only the administrator's PATH has it; undefined where it is not installed. */
export const NGINX = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin'].map((folder) => join(folder, 'nginx')).find((file) => existsSync(file))

/** nginx with one `location` block for each path, on a free port. `remove` deletes its folder. */
export async function nginx(locations: Record<string, string>): Promise<{ proxy: Server; remove: () => void }> {
  const folder = mkdtempSync(join(tmpdir(), 'viewer-nginx-'))
  const port = await freePort()
  const blocks = Object.entries(locations).map(([path, settings]) => `location ${path} { ${settings} }`)
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${folder}/${name};`)
  const file = join(folder, 'nginx.conf')
  writeFileSync(
    file,
    `daemon off; master_process off; pid ${folder}/pid; error_log stderr error;
events {}
http {
  access_log off; ${temporary.join(' ')}
  server { listen 127.0.0.1:${port}; location = /up { return 204; } ${blocks.join('\n')} }
}
`,
  )
  const proxy = new Server([NGINX ?? 'nginx', '-c', file, '-e', 'stderr'], port, '/up')
  return { proxy, remove: () => rmSync(folder, { recursive: true, force: true }) }
}

/** A JupyterLab with jupyter-server-proxy at the prefix `/user/me/`, whose folder holds a notebook of these cells. */
export async function jupyterLab(cells: string[]): Promise<{ lab: Server; address: string; remove: () => void }> {
  const folder = mkdtempSync(join(tmpdir(), 'viewer-jupyter-'))
  const port = await freePort()
  writeFileSync(join(folder, 'study.ipynb'), JSON.stringify({
    nbformat: 4,
    nbformat_minor: 5,
    metadata: { kernelspec: { name: 'python3', display_name: 'Python 3' } },
    cells: cells.map((source, i) => ({ id: `cell-${i}`, cell_type: 'code', execution_count: null, metadata: {}, outputs: [], source })),
  }))
  const flags = ['--no-browser', '--allow-root', `--port=${port}`, '--ServerApp.port_retries=0', '--ServerApp.base_url=/user/me/', '--IdentityProvider.token=secret', `--ServerApp.root_dir=${folder}`]
  const places = Object.fromEntries(['CONFIG', 'DATA', 'RUNTIME'].map((kind) => [`JUPYTER_${kind}_DIR`, join(folder, `.${kind}`)]))
  const lab = new Server([PYTHON, '-m', 'jupyterlab', ...flags], port, '/user/me/api', { ...places, OMP_NUM_THREADS: '1' })
  return { lab, address: `${lab.url}/user/me/lab/tree/study.ipynb?token=secret`, remove: () => rmSync(folder, { recursive: true, force: true }) }
}
