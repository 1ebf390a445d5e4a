import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { defineConfig, type PlaywrightTestConfig } from '@playwright/test'
import { portFor } from './e2e/ports'

const API_PORT = await portFor('E2E_API_PORT')
const VIEWER_PORT = await portFor('E2E_VIEWER_PORT')
const analysisDir = process.env.E2E_ANALYSIS_DIR ?? '../analysis_data'

/** The Chromium of the system; undefined where there is none, so that Playwright uses its own. */
function chromium(): string | undefined {
  const folders = (process.env.PATH ?? '').split(delimiter)
  const files = ['chromium', 'chromium-browser', 'google-chrome'].flatMap((name) => folders.map((folder) => join(folder, name)))
  return files.find((file) => existsSync(file))
}
const executablePath = chromium()

const config: PlaywrightTestConfig = {
  testDir: 'e2e',
  outputDir: 'test-results',
  timeout: 120_000, // in ms, as is the next one: enough for a busy machine with two cores
  expect: { timeout: 15_000 },
  fullyParallel: true,
  workers: 2,
  forbidOnly: Boolean(process.env.CI),
  reporter: [['list', { printSteps: false }]],
  use: {
    baseURL: `http://127.0.0.1:${VIEWER_PORT}`,
    viewport: { width: 1440, height: 900 },
    colorScheme: 'light',
    screenshot: 'only-on-failure',
    launchOptions: {
      ...(executablePath ? { executablePath } : {}),
      args: [
        '--no-sandbox',
        '--disable-gpu',
        '--enable-unsafe-swiftshader', // WebGL without a graphics card
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
      ],
    },
  },
  webServer: [
    {
      // The real server on a real run. It also serves the build that the second command makes.
      command: `../.venv/bin/python ../viz_analysis/feature_probe_server.py --analysis-dir "${analysisDir}" --port ${API_PORT} --viewer-dir ../build/viewer-e2e`,
      url: `http://127.0.0.1:${API_PORT}/api/health`,
      stdout: 'ignore',
      stderr: 'ignore',
    },
    {
      command: `npm run --silent build -- --outDir ../build/viewer-e2e --emptyOutDir --logLevel error && npm run --silent preview -- --outDir ../build/viewer-e2e --port ${VIEWER_PORT}`,
      url: `http://127.0.0.1:${VIEWER_PORT}`,
      env: { ...process.env, API_URL: `http://127.0.0.1:${API_PORT}` },
      stdout: 'ignore',
    },
  ],
}

export default defineConfig(config)
