import { useEffect, useState } from 'react'
import { Link } from 'wouter'
import { wholeAddress } from '../base'
import { THEMES, useTheme } from '../hooks/useTheme'
import type { RunMetadata } from '../interpAPI'
import { HEADLINES, writeAddress, type Address } from '../lib/address'
import { count } from '../lib/format'
import { Icon } from './Icon'

/** The bar above the page: the tabs, the run that is shown, the link to this view, the theme and help. */
export function Header({ address, run, tabs, onRuns, onHelp }: {
  address: Address
  run: RunMetadata | undefined
  /** The last address of each tab. */
  tabs: { headlines: Address; features: Address }
  onRuns: () => void
  onHelp: () => void
}) {
  return (
    <header className="sticky top-0 z-30 border-b border-line bg-paper">
      <div className="mx-auto flex h-14 max-w-[96rem] 3xl:max-w-[114rem] items-stretch gap-x-3 px-4 sm:gap-x-8 sm:px-6">
        <Link
          href={writeAddress({ ...HEADLINES, run: address.run })}
          className="flex items-center gap-2.5 font-serif text-[1.0625rem] font-semibold whitespace-nowrap"
        >
          <Mark />
          <span className="sr-only lg:not-sr-only">FinBERT SAE Explorer</span>
        </Link>
        <nav aria-label="Views" className="flex items-stretch gap-4 sm:gap-6">
          <Tab name="Headlines" to={tabs.headlines} current={address.view === 'headlines'} />
          <Tab name="Features" to={tabs.features} current={address.view === 'features'} />
        </nav>
        <div className="ml-auto flex min-w-0 items-center sm:gap-2">
          <button type="button" aria-haspopup="dialog" onClick={onRuns} className="flex h-9 min-w-0 items-center gap-1.5 rounded-md px-1.5 text-sm sm:gap-2 sm:px-2 whitespace-nowrap hover:bg-sunk">
            <span className="truncate">{run ? run.run_id : 'Runs'}</span>
            {run && (
              <span className="hidden text-soft md:inline">
                {run.sae.size} features, layer {run.hookpoint.layer}, {count(run.totals.n_headlines)} headlines
              </span>
            )}
            <Icon name="down" size={14} className="text-faint" />
          </button>
          {run && <CopyLink address={address} run={run} />}
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

function Tab({ name, to, current }: { name: string; to: Address; current: boolean }) {
  return (
    <Link
      href={writeAddress(to)}
      aria-current={current ? 'page' : undefined}
      className="-mb-px flex items-center border-b-2 border-transparent text-base text-soft hover:text-ink aria-[current=page]:border-ink aria-[current=page]:text-ink"
    >
      {name}
    </Link>
  )
}

/** Copies the address with the run in it, so that the link shows the same when another run is served. */
function CopyLink({ address, run }: { address: Address; run: RunMetadata }) {
  const [copied, setCopied] = useState<boolean>()
  useEffect(() => {
    if (copied === undefined) return
    const timer = setTimeout(() => setCopied(undefined), 2_000)
    return () => clearTimeout(timer)
  }, [copied])
  const name = copied === undefined ? 'Copy a link to this view' : copied ? 'Link copied' : 'The browser forbids copying'
  return (
    <button
      type="button"
      aria-label={name}
      aria-live="polite"
      title={name}
      onClick={() => {
        const link = wholeAddress(writeAddress({ ...address, run: run.run_id }))
        void copy(link).then(setCopied)
      }}
      className="hidden h-9 w-9 items-center justify-center rounded-md text-soft hover:bg-sunk hover:text-ink sm:flex"
    >
      <Icon name={copied === undefined ? 'link' : copied ? 'check' : 'cross'} />
    </button>
  )
}

/** Copies text; false where the browser forbids it, as on a page that is neither secure nor on localhost. */
async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text)
    return true
  } catch {
    return false
  }
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
