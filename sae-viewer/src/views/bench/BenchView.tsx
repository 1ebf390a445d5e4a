import { MAY_HAVE_BENCH } from '../../base'
import { Failure, Note, WithCommands } from '../../components/Notices'
import { useLiveState } from '../../hooks/useLiveState'
import type { RunMetadata } from '../../interpAPI'
import type { BenchAddress } from '../../lib/address'
import { readBench } from '../../lib/bench'
import { visible } from '../../lib/text'
import { RunExamples } from './RunExamples'
import { Workspace } from './Workspace'

/** The Bench tab: a headline and its features are edited, to see what the classifier makes of it. */
export default function BenchView({ address, run }: { address: BenchAddress; run: RunMetadata }) {
  const { data: live, error } = useLiveState()
  const written = address.bench ?? ''
  if (!MAY_HAVE_BENCH) return <Note title="The bench needs the server, which runs the classifier; this page holds one run only." />
  return (
    <section aria-label="Bench" className="mx-auto max-w-[96rem] 3xl:max-w-[114rem] px-4 pt-5 pb-16 sm:px-6 lg:pt-6">
      <h1 className="font-serif text-[1.75rem] leading-9">Bench</h1>
      <p className="mt-1 max-w-[46rem] leading-6 text-soft">
        Type a headline to see what the classifier predicts, and which features cause the prediction. Then change words, or ablate features,
        and see whether the prediction changes.
      </p>
      <RunExamples address={address} run={run} />
      <div className="mt-5">
        {error && !live && <Failure error={error} />}
        {!error && !live && <p role="status" className="skeleton h-40" aria-label="Looking for the model" />}
        {live && !live.live && <NotLive text={readBench(written).text} why={live.message ?? ''} />}
        {live?.live && <Workspace written={written} limits={live} address={address} run={run} />}
      </div>
    </section>
  )
}

function NotLive({ text, why }: { text: string; why: string }) {
  return (
    <div className="max-w-[46rem] space-y-3">
      {text && <p className="headline">{visible(text)}</p>}
      <p className="rounded-md bg-sunk px-4 py-3 leading-6">
        <WithCommands>{why}</WithCommands> Then open this address again.
      </p>
    </div>
  )
}
