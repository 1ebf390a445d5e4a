import { defineConfig } from 'eslint/config'
import { readdirSync } from 'node:fs'
import { createNodeResolver, importX } from 'eslint-plugin-import-x'
import reactHooks from 'eslint-plugin-react-hooks'
import tseslint from 'typescript-eslint'

const src = (path) => `./src/${path}`

/** The floors of `src/`. A file imports from its own floor and from those before it. */
const FLOORS = ['base.ts', 'interpAPI.ts', 'share', 'lib', 'hooks', 'components', 'views', 'App.tsx', 'main.tsx']
const upward = FLOORS.slice(0, -1).map((floor, i) => ({ target: src(floor), from: FLOORS.slice(i + 1).map(src) }))

/** A view imports nothing from another view; what two of them need is shared in a lower floor. */
const across = readdirSync(new URL('src/views', import.meta.url)).map((view) => ({
  target: src(`views/${view}`),
  from: src('views'),
  except: [`./${view}`],
}))

export default defineConfig(
  { ignores: ['eslint.config.js', 'public', 'dist', 'src/api.gen.ts', 'test-results', 'playwright-report'] },
  tseslint.configs.strictTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    plugins: { 'import-x': importX },
    settings: {
      'import-x/extensions': ['.ts', '.tsx'],
      'import-x/parsers': { '@typescript-eslint/parser': ['.ts', '.tsx'] },
      'import-x/resolver-next': [createNodeResolver({ extensions: ['.ts', '.tsx', '.js'] })],
    },
    rules: {
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/no-confusing-void-expression': 'off',
      'import-x/no-cycle': 'error',
      'import-x/no-restricted-paths': ['error', { basePath: import.meta.dirname, zones: [...upward, ...across] }],
      'import-x/order': ['error', { groups: ['builtin', 'external', 'parent', 'sibling'], alphabetize: { order: 'asc', caseInsensitive: true } }],
      'no-console': 'error',
    },
  },
  {
    files: ['src/**/*.{ts,tsx}'],
    ...reactHooks.configs.flat.recommended,
    // This rule is about the React compiler, which this project does not use.
    rules: { ...reactHooks.configs.flat.recommended.rules, 'react-hooks/incompatible-library': 'off' },
  },
  {
    // Only the API client reads the generated types; everything else imports the names that it exports.
    files: ['src/**'],
    ignores: ['src/interpAPI.ts'],
    rules: { 'no-restricted-imports': ['error', { patterns: [{ regex: 'api\\.gen$' }] }] },
  },
)
