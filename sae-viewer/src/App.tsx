import { lazy, Suspense, useEffect, useMemo, useState, type MouseEvent } from 'react'
import { MAY_HAVE_BENCH, SHARED } from './base'
import { Header } from './components/Header'
import { HelpDialog } from './components/HelpDialog'
import { Icon } from './components/Icon'
import { Failure, Note, Notice, WithCommands } from './components/Notices'
import { go, useAddress } from './hooks/useAddress'
import { useHealth, useSlow } from './hooks/useHealth'
import { useKeys } from './hooks/useKeys'
import { LabelledContext } from './hooks/useLabelled'
import { LabelsContext, useLabels } from './hooks/useLabels'
import { LooksContext, looksName } from './hooks/useLooks'
import { useRun } from './hooks/useRun'
import { useScrollMemory } from './hooks/useScrollMemory'
import { UnitContext, unitOf } from './hooks/useUnit'
import { START_COMMAND, type ApiError, type Run, type RunMetadata } from './interpAPI'
import {
  BENCH,
  FEATURES,
  HEADLINES,
  MAP,
  openPanel,
  scrollKey,
  shownPanel,
  writeAddress,
  type Address,
  type KnownAddress,
} from './lib/address'
import { opened } from './lib/opening'
import { FeaturesView } from './views/features/FeaturesView'
import { HeadlinesView } from './views/headlines/HeadlinesView'

const MapView = lazy(() => import('./views/map/MapView'))
const BenchView = lazy(() => import('./views/bench/BenchView'))
const RunPanel = lazy(() => import('./views/panel/RunPanel'))

/** The header, the tab that the address names, and the dialogs over it. */
export function App() {
  const { address: asked, problems } = useAddress()
  const health = useHealth()
  const { data: run, error, refetch } = useRun(asked.run)
  const address = useMemo(() => opened(asked, run), [asked, run])
  const { labels, error: unreadLabels } = useLabels(run)
  const [help, setHelp] = useState(false)
  const onRuns = () => go(openPanel(address, SHARED === undefined ? 'runs' : 'quality'))
  const tabs = useTabs(address)
  useKeys({
    '?': () => setHelp(true),
    'g h': () => go(tabs.headlines),
    'g f': () => go(tabs.features),
    'g m': () => go(tabs.map),
    'g b': () => MAY_HAVE_BENCH && go(tabs.bench),
  })
  useTitle(address, run)
  useScrollMemory(address.view, scrollKey(address), writeAddress(address))
  const slow = useSlow()
  const served = health.data?.run_id
  const newer = run && address.run === undefined && served !== undefined && served !== run.run_id

  return (
    <LabelledContext value={run?.labelled ?? true}>
      <UnitContext value={unitOf(run)}>
        <LooksContext value={looksName(run)}>
          <LabelsContext value={labels}>
            <a href="#main" onClick={skip} className="button fixed top-2 left-2 z-50 -translate-y-16 focus:translate-y-0">
              Skip to the content
            </a>
            <Header
              address={address}
              run={run}
              tabs={tabs}
              onRuns={onRuns}
              onHelp={() => setHelp(true)}
            />
            <main id="main" tabIndex={-1} className="outline-none">
              <div aria-live="polite" className="mx-auto max-w-[96rem] 3xl:max-w-[114rem] px-4 sm:px-6">
                {health.error?.kind === 'down' && run && <Down />}
                {slow && <Notice>Still waiting for the API.</Notice>}
                {newer && (
                  <Notice>
                    The API now serves {served}; this page shows {run.run_id}.{' '}
                    <button type="button" className="quiet" onClick={() => void refetch()}>
                      Show {served}
                    </button>
                  </Notice>
                )}
                {run?.damaged_files.map((sentence) => (
                  <Notice key={sentence} tone="wrong">
                    <WithCommands>{sentence}</WithCommands>
                  </Notice>
                ))}
                {unreadLabels && !unreadLabels.passes && (
                  <Notice tone="wrong">
                    <WithCommands>{unreadLabels.message}</WithCommands>
                  </Notice>
                )}
                {problems.map((problem) => (
                  <Notice key={problem}>{problem}</Notice>
                ))}
              </div>
              <View address={address} run={run} error={error} onRuns={onRuns} />
            </main>
            {help && <HelpDialog onClose={() => setHelp(false)} />}
            {shownPanel(address) && (
              <Suspense fallback={null}>
                <RunPanel run={run} address={address} />
              </Suspense>
            )}
          </LabelsContext>
        </LooksContext>
      </UnitContext>
    </LabelledContext>
  )
}

function View({ address, run, error, onRuns }: {
  address: Address
  run: Run | undefined
  error: ApiError | null
  onRuns: () => void
}) {
  if (address.view === 'unknown') {
    return (
      <>
        <h1 className="sr-only">No such page</h1>
        <Note title={`There is no page ${address.path}.`}>
          <p>
            <button type="button" className="button" onClick={() => go({ ...HEADLINES, run: address.run })}>
              Show the headlines
            </button>
          </p>
        </Note>
      </>
    )
  }
  if (run) {
    switch (address.view) {
      case 'headlines':
        return <HeadlinesView address={address} run={run} />
      case 'features':
        return <FeaturesView address={address} run={run} />
      case 'map':
        return (
          <Suspense fallback={<Waiting />}>
            <MapView address={address} run={run} />
          </Suspense>
        )
      case 'bench':
        return (
          <Suspense fallback={null}>
            <BenchView address={address} run={run} />
          </Suspense>
        )
    }
  }
  if (!error) return <Waiting />
  return (
    <>
      <Failure error={error} />
      {error.kind === 'refused' && SHARED === undefined && (
        <p className="-mt-8 text-center">
          <button type="button" className="button" onClick={onRuns}>
            Choose another run
          </button>
        </p>
      )}
    </>
  )
}

/** Moves the focus to the content. The link alone would leave the page, whose `<base>` is another address. */
function skip(event: MouseEvent): void {
  event.preventDefault()
  document.getElementById('main')?.focus()
}

function Down() {
  return (
    <p role="alert" className="flex items-start gap-2.5 border-b border-line py-3 leading-6">
      <Icon name="alert" className="mt-1 text-wrong" />
      <span>
        The API has stopped answering. What is loaded stays on this page. Start the API with{' '}
        <code className="rounded bg-sunk px-1.5 py-0.5 font-mono text-[0.8125rem]">{START_COMMAND}</code> and this page
        continues by itself.
      </span>
    </p>
  )
}

function Waiting() {
  return (
    <div role="status" aria-label="Loading the run" className="mx-auto max-w-[96rem] 3xl:max-w-[114rem] px-4 pt-8 sm:px-6">
      <span className="skeleton block h-9 max-w-sm" />
      {Array.from({ length: 6 }, (_, i) => (
        <span key={i} className="skeleton mt-6 block h-14" />
      ))}
    </div>
  )
}

type Tabs = { [V in KnownAddress['view']]: KnownAddress }

/** The last address of each tab (its filters, its feature), in the run that is shown. */
function useTabs(address: Address): Tabs {
  const [last, setLast] = useState<Tabs>({ headlines: HEADLINES, features: FEATURES, map: MAP, bench: BENCH })
  if (address.view !== 'unknown' && last[address.view] !== address) setLast({ ...last, [address.view]: address })
  const { run } = address
  return {
    headlines: { ...last.headlines, run },
    features: { ...last.features, run },
    map: { ...last.map, run },
    bench: { ...last.bench, run },
  }
}

function useTitle(address: Address, run: RunMetadata | undefined): void {
  const page = pageName(address)
  const title = [page, run?.run_id, 'FinBERT SAE Explorer'].filter(Boolean).join(' · ')
  useEffect(() => {
    document.title = title
  }, [title])
}

function pageName(address: Address): string {
  switch (address.view) {
    case 'headlines':
      return 'Headlines'
    case 'features':
      return address.feature === undefined ? 'Features' : `Feature ${address.feature}${address.card ? ', card' : ''}`
    case 'map':
      return 'Map'
    case 'bench':
      return 'Bench'
    case 'unknown':
      return 'No such page'
  }
}
