import { lazy, Suspense } from 'react'
import { SHARED } from '../../base'
import { Modal } from '../../components/Modal'
import { go } from '../../hooks/useAddress'
import type { Run } from '../../interpAPI'
import { openPanel, PANELS, shownPanel, type Address, type Panel } from '../../lib/address'
import { RunList } from './RunList'

const Quality = lazy(() => import('./Quality'))
const Contrast = lazy(() => import('./Contrast'))
const Diff = lazy(() => import('./Diff'))
const Compare = lazy(() => import('./Compare'))
const LabelList = lazy(() => import('./LabelList'))

const NAMES: Record<Panel, string> = { runs: 'Runs', quality: 'Quality', contrast: 'Contrast', diff: 'Fine-tuning', compare: 'Compare', labels: 'Annotations' }

/** The panels that a page shows; comparing runs and choosing one needs the server. */
const OFFERED: readonly Panel[] = SHARED === undefined ? PANELS : PANELS.filter((name) => name === 'quality' || name === 'contrast' || name === 'diff' || name === 'labels')

/** The panel over the view: the list of runs, the quality of the shown one, its comparison with others, its annotations. */
export default function RunPanel({ run, address }: { run: Run | undefined; address: Address }) {
  const panel = shownPanel(address) ?? 'runs'
  const shown = run ? panel : 'runs'
  const close = () => {
    if (address.view !== 'unknown') go({ ...address, panel: undefined, change: undefined, compare: undefined }, true)
  }
  return (
    <Modal title={run ? `${NAMES[shown]}: ${run.run_id}` : 'Runs'} onClose={close} wide="panel">
      {run && (
        <nav aria-label="About this run" className="-mt-2 mb-6 flex gap-5 overflow-x-auto border-b border-line">
          {OFFERED.map((name) => (
            <button
              key={name}
              type="button"
              aria-current={name === shown ? 'page' : undefined}
              onClick={() => go(openPanel(address, name), true)}
              className="-mb-px border-b-2 whitespace-nowrap border-transparent py-2 text-soft hover:text-ink aria-[current=page]:border-ink aria-[current=page]:text-ink"
            >
              {NAMES[name]}
            </button>
          ))}
        </nav>
      )}
      <Suspense fallback={<span className="skeleton block h-96" />}>
        {!OFFERED.includes(shown) && <p className="text-soft">This page holds {run?.run_id ?? 'one run'} only; choosing and comparing runs needs the server.</p>}
        {shown === 'runs' && SHARED === undefined && <RunList shown={run?.run_id} address={address} />}
        {shown === 'quality' && run && <Quality run={run} address={address} />}
        {shown === 'contrast' && run && <Contrast run={run} address={address} />}
        {shown === 'diff' && run && <Diff run={run} address={address} />}
        {shown === 'compare' && run && SHARED === undefined && <Compare run={run} address={address} />}
        {shown === 'labels' && run && <LabelList run={run} address={address} />}
      </Suspense>
    </Modal>
  )
}
