import { Link } from 'wouter'
import { MAY_HAVE_BENCH, SHARED } from '../base'
import { THEMES, useTheme } from '../hooks/useTheme'
import type { RunMetadata } from '../interpAPI'
import { HEADLINES, openPanel, writeAddress, type Address } from '../lib/address'
import { count } from '../lib/format'
import { CopyLink } from './CopyLink'
import { Icon } from './Icon'

const VIEWS = { headlines: 'Headlines', features: 'Features', map: 'Map', bench: 'Bench' } as const
const PANELS = { quality: 'Quality', contrast: 'Contrast', compare: 'Compare', labels: 'Annotations' } as const

/** Whether this page can show it: a shared run has no others to compare with, and a bench only with its model. */
const isOffered = (name: string) => (name === 'bench' ? MAY_HAVE_BENCH : name === 'compare' ? SHARED === undefined : true)

const offered = <T extends Record<string, string>>(names: T) =>
  (Object.entries(names) as [keyof T & string, string][]).filter(([name]) => isOffered(name))

/** The bar above the page: the views, what is known of the run, the run itself, the link to this view, theme and help. */
export function Header({ address, run, tabs, onRuns, onHelp }: {
  address: Address
  run: RunMetadata | undefined
  /** The last address of each view. */
  tabs: Record<keyof typeof VIEWS, Address>
  onRuns: () => void
  onHelp: () => void
}) {
  return (
    <header className="z-30 border-b border-line bg-paper lg:sticky lg:top-0 print:hidden">
      <div className="mx-auto flex max-w-[96rem] 3xl:max-w-[114rem] flex-wrap items-stretch gap-x-3 px-4 sm:px-6 lg:h-14 lg:flex-nowrap lg:gap-x-7">
        <Link
          href={writeAddress({ ...HEADLINES, run: address.run })}
          className="flex h-12 items-center gap-2.5 font-serif text-[1.0625rem] font-semibold whitespace-nowrap lg:h-auto"
        >
          <Mark />
          <span className="lg:sr-only xl:not-sr-only">
            <span className="max-sm:sr-only">FinBERT </span>SAE Explorer
          </span>
        </Link>
        <nav aria-label="Views and figures" className="order-last flex w-full flex-wrap items-stretch gap-x-5 lg:order-none lg:w-auto lg:flex-nowrap lg:gap-x-6">
          {offered(VIEWS).map(([view, name]) => (
            <Tab key={view} name={name} to={tabs[view]} current={address.view === view} />
          ))}
          <span className="relative flex items-stretch gap-x-4 text-sm max-sm:w-full sm:pl-5 sm:before:absolute sm:before:inset-y-[calc(50%-0.5rem)] sm:before:left-0 sm:before:w-px sm:before:bg-line lg:gap-x-5">
            {offered(PANELS).map(([panel, name]) => (
              <Tab key={panel} name={name} to={openPanel(address, panel)} current={false} small />
            ))}
          </span>
        </nav>
        <div className="ml-auto flex min-w-0 items-center sm:gap-2">
          <button type="button" aria-haspopup="dialog" onClick={onRuns} className="flex h-9 min-w-0 items-center gap-1.5 rounded-md px-1.5 text-sm sm:gap-2 sm:px-2 whitespace-nowrap hover:bg-sunk">
            <span className="truncate">{run ? run.run_id : 'Runs'}</span>
            {run && (
              <span className="hidden text-soft sm:max-lg:inline xl:inline">
                {run.sae.size} features, layer {run.hookpoint.layer}, {count(run.totals.n_headlines)} headlines
              </span>
            )}
            <Icon name="down" size={14} className="text-faint" />
          </button>
          {run && <CopyLink address={address} run={run} className="hidden h-9 w-9 items-center justify-center rounded-md text-soft hover:bg-sunk hover:text-ink sm:flex" />}
          <ThemeSwitch />
          <button
            type="button"
            aria-label="Help"
            aria-haspopup="dialog"
            aria-keyshortcuts="?"
            onClick={onHelp}
            className="h-9 w-9 shrink-0 rounded-md text-soft hover:bg-sunk hover:text-ink"
          >
            ?
          </button>
        </div>
      </div>
    </header>
  )
}

function Tab({ name, to, current, small = false }: { name: string; to: Address; current: boolean; small?: boolean }) {
  return (
    <Link
      href={writeAddress(to)}
      aria-current={current ? 'page' : undefined}
      aria-haspopup={small ? 'dialog' : undefined}
      className={`-mb-px flex items-center border-b-2 border-transparent text-soft hover:text-ink aria-[current=page]:border-ink aria-[current=page]:text-ink ${
        small ? 'min-h-8' : 'min-h-9 text-base'
      }`}
    >
      {name}
    </Link>
  )
}

const THEME_ICONS = { system: 'screen', light: 'sun', dark: 'moon' } as const

/** One button that steps through the themes: the system’s, light, dark. */
function ThemeSwitch() {
  const [theme, setTheme] = useTheme()
  const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length] ?? 'system'
  const name = `Theme: ${theme}. Switch to ${next}.`
  return (
    <button
      type="button"
      aria-label={name}
      title={name}
      onClick={() => setTheme(next)}
      className="flex h-9 w-9 shrink-0 items-center justify-center rounded-md text-soft hover:bg-sunk hover:text-ink"
    >
      <Icon name={THEME_ICONS[theme]} />
    </button>
  )
}

/** The logo: nine tokens, on two of which a sparse feature fires. */
function Mark() {
  const lit = (x: number, y: number) => x + y === 20 && x !== 10
  return (
    <svg aria-hidden="true" viewBox="0 0 20 20" width="22" height="22">
      {[4, 10, 16].flatMap((y) =>
        [4, 10, 16].map((x) => (
          <circle
            key={`${x} ${y}`}
            cx={x}
            cy={y}
            r={lit(x, y) ? 3 : 1.7}
            className={lit(x, y) ? 'fill-plum' : 'fill-edge'}
          />
        )),
      )}
    </svg>
  )
}
