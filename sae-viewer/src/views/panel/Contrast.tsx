import { WithCommands } from '../../components/Notices'
import { SaveButtons } from '../../components/SaveButtons'
import { go } from '../../hooks/useAddress'
import type { ContrastAnswer, KindOfChange, RunMetadata, ShareOfPairs } from '../../interpAPI'
import type { Address } from '../../lib/address'
import { EXPECTED, SOURCES } from '../../lib/contrast'
import { csv, saveFile, type Row } from '../../lib/download'
import { counted, percent } from '../../lib/format'
import { visible } from '../../lib/text'
import { ContrastKind } from './ContrastKind'
import { useContrast } from './useContrast'

/** Kinds of small changes of texts: how often the prediction changes, what is expected, and the pairs of one kind. */
export default function Contrast({ run, address }: { run: RunMetadata; address: Address }) {
  const { data, error } = useContrast(run.run_id)
  if (error) {
    return (
      <p className={error.code === 'no_contrast' ? 'text-soft' : 'text-wrong'}>
        <WithCommands>{error.message}</WithCommands>
      </p>
    )
  }
  if (!data) return <span className="skeleton block h-80" />
  const asked = address.view === 'unknown' ? undefined : address.change
  const chosen = asked !== undefined && asked < data.kinds.length ? asked : undefined
  const choose = (n: number) => {
    if (address.view !== 'unknown') go({ ...address, panel: 'contrast', change: n === chosen ? undefined : n }, true)
  }
  return (
    <div className="space-y-6">
      <div className="flex flex-wrap items-start justify-between gap-4">
        <p className="max-w-[46rem] text-soft">
          Texts with one small change each. Some changes should leave the prediction as it is: where they do not, the classifier has learned something
          beside the meaning. Others should move it toward a class, or away from one. Choose a change to see its pairs and the features that it moves.
        </p>
        <SaveButtons
          what="these figures"
          ways={{
            CSV: () => saveFile(`${run.run_id}-contrast.csv`, csv(rows(data, run.labels)), 'text/csv'),
            JSON: () => saveFile(`${run.run_id}-contrast.json`, JSON.stringify(data, null, 2), 'application/json'),
          }}
        />
      </div>
      <ul aria-label="Kinds of change" className="border-t border-line">
        {data.kinds.map((kind, n) => (
          <li key={n} className="border-b border-line">
            <button
              type="button"
              aria-expanded={n === chosen}
              onClick={() => choose(n)}
              className="grid w-full grid-cols-1 items-center sm:grid-cols-2 gap-x-6 gap-y-1 px-1 py-2 text-left hover:bg-sunk aria-expanded:bg-sunk md:grid-cols-[minmax(0,1fr)_minmax(0,1fr)_minmax(0,1fr)]"
            >
              <span className="min-w-0 sm:col-span-2 md:col-span-1">
                <bdi className="block truncate font-semibold">{visible(kind.label)}</bdi>
                <span className="block truncate text-xs text-soft">
                  {counted(kind.n_pairs, 'pair')} from {SOURCES[kind.source]}
                </span>
              </span>
              <Share name="prediction changes" share={kind.changed} bad={kind.expectation === 'same'} />
              {kind.expectation === 'same' ? (
                <span className="text-xs text-soft">expected: it {EXPECTED.same}</span>
              ) : (
                <Share name={`as expected: it ${EXPECTED[kind.expectation]}`} share={kind.as_expected} bad={false} />
              )}
            </button>
            {n === chosen && <ContrastKind kind={kind} answer={data} run={run} address={address} />}
          </li>
        ))}
      </ul>
      <div className="text-xs text-soft">
        <p>Bars end at the share; the line through each end is its 95 % interval (Wilson).</p>
        {data.left_out.map((sentence) => (
          <p key={sentence} className="mt-1">
            <WithCommands>{sentence}</WithCommands>
          </p>
        ))}
      </div>
    </div>
  )
}

/** A share of pairs as a bar with its interval. */
function Share({ name, share: { share, low, high }, bad }: { name: string; share: ShareOfPairs; bad: boolean }) {
  return (
    <span className="min-w-0">
      <span className="flex items-baseline justify-between gap-2 text-xs">
        <span className="truncate text-soft">{name}</span>
        <span className="whitespace-nowrap tabular-nums" title={`95 % interval ${percent(low)} to ${percent(high)}`}>
          {percent(share)}
        </span>
      </span>
      <span aria-hidden="true" className="relative mt-1 block h-2 rounded-[2px] bg-sunk ring-1 ring-line ring-inset">
        <span className={`block h-full rounded-[2px] ${bad ? 'bg-wrong' : 'bg-bar'}`} style={{ width: `${100 * share}%` }} />
        <span className="absolute top-1/2 h-px bg-ink" style={{ left: `${100 * low}%`, width: `${100 * (high - low)}%` }} />
      </span>
    </span>
  )
}

function rows({ kinds }: ContrastAnswer, labels: readonly string[]): Row[] {
  return kinds.map((kind: KindOfChange) => ({
    kind: kind.kind,
    source: kind.source,
    pairs: kind.n_pairs,
    expectation: kind.expectation,
    changed: kind.changed.share,
    changed_low: kind.changed.low,
    changed_high: kind.changed.high,
    as_expected: kind.as_expected.share,
    as_expected_low: kind.as_expected.low,
    as_expected_high: kind.as_expected.high,
    tested: kind.n_tested,
    ...Object.fromEntries(kind.explained.map(({ n_features, n_pairs }) => [`explained_by_${n_features}`, n_pairs])),
    features: kind.features.map(({ feature }) => feature).join(' '),
    ...Object.fromEntries(labels.map((label, i) => [`shift_${label}`, kind.mean_shift[i] ?? 0])),
  }))
}
