import { appendFileSync, copyFileSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import tailwindcss from '@tailwindcss/vite'
import react from '@vitejs/plugin-react'
import { build, type Plugin } from 'vite'
import { defineConfig } from 'vitest/config'

// The API that `npm start` and `npm run preview` pass /api on to.
const api = process.env.API_URL ?? 'http://127.0.0.1:8765'
const server = {
  host: '127.0.0.1',
  port: 1234,
  strictPort: true,
  proxy: { '/api': { target: api, changeOrigin: true } },
}

/** The file with the licences of all that the build holds; `viz_analysis/share/page.py` puts it into shared pages too. */
const LICENCES = 'licenses.md'

/** Adds the licences of packages whose style sheets and fonts are in the build; Vite itself finds those of scripts. */
function styleLicences(): Plugin {
  let folder = ''
  return {
    name: 'style-licences',
    apply: 'build',
    configResolved: ({ build: { outDir } }) => {
      folder = outDir
    },
    closeBundle: () => {
      for (const name of ['@fontsource-variable/source-sans-3', '@fontsource-variable/source-serif-4', 'tailwindcss']) {
        appendFileSync(join(folder, LICENCES), `\n---\n\n## ${name}\n\n${readFileSync(join('node_modules', name, 'LICENSE'), 'utf8').trim()}\n`)
      }
    },
  }
}

/** Copies onnxruntime-web beside the build. Only `export --to site --bench` uses it; see `viz_analysis/share/bench.py`. */
function wasmRuntime(): Plugin {
  let folder = ''
  return {
    name: 'wasm-runtime',
    apply: 'build',
    configResolved: ({ build: { outDir } }) => {
      folder = join(outDir, 'onnxruntime')
    },
    closeBundle: () => {
      mkdirSync(folder, { recursive: true })
      for (const [from, to] of [['ort.wasm.bundle.min.mjs', 'ort.js'], ['ort-wasm-simd-threaded.wasm', 'ort.wasm']] as const) {
        copyFileSync(join('node_modules', 'onnxruntime-web', 'dist', from), join(folder, to))
      }
    },
  }
}

/** Builds the viewer again as one script and one style sheet, from which `export --to html` makes its page. */
function onePage(): Plugin {
  let folder = ''
  return {
    name: 'one-page',
    apply: 'build',
    configResolved: ({ build: { outDir } }) => {
      folder = join(outDir, 'one-page')
    },
    closeBundle: async () => {
      await build({
        configFile: false,
        plugins: [react(), tailwindcss()],
        publicDir: false,
        logLevel: 'error',
        build: {
          target: 'esnext',
          cssTarget: 'esnext',
          outDir: folder,
          assetsInlineLimit: () => true,
          cssCodeSplit: false,
          rolldownOptions: {
            input: 'src/main.tsx',
            output: { codeSplitting: false, entryFileNames: 'viewer.js', assetFileNames: 'viewer[extname]' },
          },
        },
      })
    },
  }
}

export default defineConfig({
  plugins: [react(), tailwindcss(), styleLicences(), wasmRuntime(), onePage()],
  server,
  preview: server,
  // Assets are named relative to the files that ask for them; `src/base.ts` says where the page itself is.
  base: './',
  // `light-dark()` and `oklch()` are kept as written: every browser since 2024 has them.
  build: { target: 'esnext', cssTarget: 'esnext', license: { fileName: LICENCES } },
  test: { include: ['src/**/*.test.{ts,tsx}'], environment: 'node' },
})
