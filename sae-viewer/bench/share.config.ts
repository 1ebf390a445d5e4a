import { defineConfig } from '@playwright/test'
import base from '../playwright.config'

/** Measures shared runs, which need no server. */
export default defineConfig({
  ...base,
  testDir: '.',
  testMatch: 'share.bench.ts',
  outputDir: '../test-results',
  timeout: 300_000,
  workers: 1,
  webServer: [],
  reporter: [['line']],
})
