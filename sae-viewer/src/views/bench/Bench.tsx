import { Modal } from '../../components/Modal'
import { Failure } from '../../components/Notices'
import { go } from '../../hooks/useAddress'
import type { RunMetadata } from '../../interpAPI'
import type { HeadlinesAddress } from '../../lib/address'
import { readBench } from '../../lib/bench'
import { visible } from '../../lib/text'
import { useLiveState } from './useLive'
import { Workspace } from './Workspace'

const LIVE_COMMAND = 'python viz_analysis/feature_probe_server.py --live'

/** A dialog in which a headline and its features are edited, to see what the classifier makes of it. */
export default function Bench({ address, run }: { address: HeadlinesAddress; run: RunMetadata }) {
  const { data: live, error } = useLiveState()
  const written = address.bench ?? ''
  return (
    <Modal title="Bench" onClose={() => go({ ...address, bench: undefined })} wide="widest">
      {error && !live && <Failure error={error} />}
      {!error && !live && <p role="status" className="skeleton h-40" aria-label="Looking for the model" />}
      {live && !live.live && <NotLive text={readBench(written).text} />}
      {live?.live && <Workspace written={written} limits={live} address={address} run={run} />}
    </Modal>
  )
}

function NotLive({ text }: { text: string }) {
  return (
    <div className="space-y-3">
      {text && <p className="headline">{visible(text)}</p>}
      <p>
        The bench asks the run’s own classifier, which this server has not loaded. Start the server with{' '}
        <code className="rounded bg-sunk px-1.5 py-0.5 font-mono text-[0.8125rem]">{LIVE_COMMAND}</code> and open this address again.
      </p>
    </div>
  )
}
