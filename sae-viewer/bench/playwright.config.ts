import { defineConfig } from '@playwright/test'
import { portFor } from '../e2e/ports'
import base from '../playwright.config'

const API_PORT = await portFor('E2E_API_PORT')
const analysisDir = process.env.E2E_ANALYSIS_DIR ?? '../../analysis_data'

/** Benchmark and screenshots of the production build as the Flask server serves it, one page at a time. */
export default defineConfig({
  ...base,
  testDir: '.',
  testMatch: '*.bench.ts',
  outputDir: '../test-results',
  timeout: 300_000,
  fullyParallel: false,
  workers: 1,
  reporter: [['line']],
  use: { ...base.use, baseURL: `http://127.0.0.1:${API_PORT}`, screenshot: 'off' },
  webServer: {
    command: `../../.venv/bin/python ../../viz_analysis/feature_probe_server.py --analysis-dir "${analysisDir}" --port ${API_PORT} --viewer-dir ../dist`,
    url: `http://127.0.0.1:${API_PORT}/api/health`,
    timeout: 180_000,
    stdout: 'ignore',
    stderr: 'pipe',
  },
})
