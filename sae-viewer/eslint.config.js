import { defineConfig } from 'eslint/config'
import reactHooks from 'eslint-plugin-react-hooks'
import tseslint from 'typescript-eslint'

/** Imports go one way: lib ← interpAPI ← hooks ← components ← App. */
const above = {
  lib: ['**/hooks/*', '**/components/*', '**/App'],
  hooks: ['**/components/*', '**/App'],
  components: ['**/App'],
}

export default defineConfig(
  { ignores: ['eslint.config.js', 'dist', 'src/api.gen.ts', 'test-results', 'playwright-report'] },
  tseslint.configs.strictTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/no-confusing-void-expression': 'off',
      'no-console': 'error',
    },
  },
  {
    files: ['src/**/*.{ts,tsx}'],
    ...reactHooks.configs.flat.recommended,
    // Speaks of the memoising compiler, which is not used here.
    rules: { ...reactHooks.configs.flat.recommended.rules, 'react-hooks/incompatible-library': 'off' },
  },
  ...Object.entries(above).map(([folder, patterns]) => ({
    files: [`src/${folder}/**`],
    rules: { 'no-restricted-imports': ['error', { patterns: patterns.map((group) => ({ group: [group] })) }] },
  })),
  {
    // Pages' types come from the API's description alone: nothing else may read the generated file.
    files: ['src/**'],
    ignores: ['src/interpAPI.ts'],
    rules: {
      '@typescript-eslint/no-restricted-imports': ['error', { patterns: [{ regex: 'api\\.gen$' }] }],
    },
  },
)
