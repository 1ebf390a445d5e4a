import { useState } from 'react'
import { useDebounced } from '../../hooks/useDebounced'
import { useIntervene, useLiveState, useProbe } from './useLive'
import type { Headline, Probe, RunMetadata } from '../../interpAPI'
import { MAX_TEXT, readBench, writeBench, type Bench as State } from '../../lib/bench'
import { changes, signed } from '../../lib/effects'
import { number } from '../../lib/format'
import { stretches, type Grain } from '../../lib/text'
import { HeatLegend, HeatText, Word } from '../../components/HeatText'
import { Modal } from '../../components/Modal'
import { Failure, Notice } from '../../components/Notices'
import { Audit } from './Audit'
import { Faithfulness } from '../../components/causes/Faithfulness'
import { FeatureSliders } from './FeatureSliders'
import { FlipButtons } from './FlipButtons'
import { Probabilities } from './Probabilities'
import { Waterfall } from '../../components/causes/Waterfall'

const SETTLED_MS = 120
const START = 'python viz_analysis/feature_probe_server.py --live'

/** Type or edit a headline, change its features, and see what the classifier makes of it. All of it is in the address. */
export function Bench({ written, run, grain, headlines, href, onWrite, onClose }: {
  /** `bench` of the address. */
  written: string
  run: RunMetadata
  grain: Grain
  /** Headlines at hand, for the true label of a text. */
  headlines: readonly Headline[]
  href: (feature: number) => string
  onWrite: (written: string) => void
  onClose: () => void
}) {
  const { data: state, error } = useLiveState()
  return (
    <Modal title="Bench" onClose={onClose} wide="widest">
      {error && !state && <Failure error={error} />}
      {!error && !state && <p role="status" className="skeleton h-40" aria-label="Looking for the model" />}
      {state && !state.live && <Off text={readBench(written).text} />}
      {state?.live && (
        <Open written={written} run={run} grain={grain} headlines={headlines} href={href} onWrite={onWrite} />
      )}
    </Modal>
  )
}

function Off({ text }: { text: string }) {
  return (
    <div className="space-y-3">
      {text && <p className="headline">{text}</p>}
      <p>
        The bench asks the run’s own classifier, which this server has not loaded. Start it with{' '}
        <code className="rounded bg-sunk px-1.5 py-0.5 font-mono text-[0.8125rem]">{START}</code> and open this address again.
      </p>
    </div>
  )
}

function Open({ written, run, grain, headlines, href, onWrite }: {
  written: string
  run: RunMetadata
  grain: Grain
  headlines: readonly Headline[]
  href: (feature: number) => string
  onWrite: (written: string) => void
}) {
  const field = useDebounced(written, onWrite, SETTLED_MS)
  const draft = readBench(field.draft)
  const setDraft = (next: State) => field.type(writeBench(next))
  const asked = readBench(written)
  const [lit, setLit] = useState<number>()
  const { labels, run_id } = run
  const probe = useProbe(run_id, asked.text, true)
  const compared = asked.from !== asked.text && asked.from.trim() !== ''
  const original = useProbe(run_id, asked.from, compared)
  const edited = useIntervene(run_id, asked.text, asked.edits, true)
  const now = asked.text.trim() ? probe.data : undefined
  const after = asked.edits.length > 0 ? edited.data?.after[0] : undefined
  const known = headlines.find(({ text }) => text === asked.text)
  const error = probe.error ?? edited.error

  return (
    <div className="grid grid-cols-1 gap-x-10 gap-y-5 lg:grid-cols-[minmax(0,1fr)_minmax(0,1.1fr)]">
      <div className="min-w-0 space-y-4">
        <label className="block">
          <span className="eyebrow">Headline</span>
          <textarea
            rows={3}
            maxLength={MAX_TEXT}
            value={draft.text}
            placeholder="Type a headline"
            onChange={(event) => setDraft({ ...draft, text: event.target.value })}
            className="headline mt-1 block w-full resize-y rounded-md border border-edge bg-raised px-3 py-2"
          />
        </label>
        {error && <Notice tone="wrong">{error.message}</Notice>}
        {now && <Read probe={now} lit={lit} grain={grain} stale={probe.stale} />}
        {draft.from !== draft.text && (
          <p className="flex flex-wrap gap-x-4 text-xs">
            <button type="button" className="quiet" onClick={() => setDraft({ ...draft, text: draft.from })}>Back to the original text</button>
            <button type="button" className="quiet" onClick={() => setDraft({ ...draft, from: draft.text })}>Compare with this text from here on</button>
          </p>
        )}
        <div className="grid grid-cols-1 gap-x-8 gap-y-3 sm:grid-cols-2">
          <Probabilities title={compared ? 'Before: the original text' : 'Before'} of={compared ? original.data : now} labels={labels} />
          <Probabilities
            title={after ? 'After: the features edited' : compared ? 'After: this text' : 'After: nothing is edited yet'}
            of={after ?? now}
            before={compared ? original.data : now}
            labels={labels}
          />
        </div>
        {compared && original.data && now && <Changes before={original.data} after={now} href={href} onLight={setLit} />}
        {now && (
          <FlipButtons
            key={asked.text}
            run={run_id}
            text={asked.text}
            prediction={now.prediction}
            label={known?.label}
            labels={labels}
            onEdits={(edits) => setDraft({ ...draft, edits })}
          />
        )}
        {probe.whole?.base && probe.whole.rest && (
          <Waterfall
            causes={{ ...probe.whole, base: probe.whole.base, rest: probe.whole.rest }}
            index={probe.whole.prediction}
            labels={labels}
            words={new Map(probe.whole.features.map(({ feature, word }) => [feature, word]))}
            href={href}
            onLight={setLit}
          />
        )}
      </div>
      <div className="min-w-0 space-y-6">
        {now && (
          <FeatureSliders
            fired={now.features}
            edits={draft.edits}
            prediction={now.prediction}
            labels={labels}
            href={href}
            lit={lit}
            onLight={setLit}
            onEdits={(edits) => setDraft({ ...draft, edits })}
          />
        )}
        <Audit run={run_id} features={asked.edits.map(({ feature }) => feature)} labels={labels} />
      </div>
    </div>
  )
}

/** The text as the classifier read it: a feature's heat, or what each word does for the prediction. */
function Read({ probe, lit, grain, stale }: { probe: Probe; lit: number | undefined; grain: Grain; stale: boolean }) {
  const fired = probe.features.find(({ feature }) => feature === lit) ?? probe.features[0]
  const max = fired ? Math.max(...fired.values) : 0
  const { spliced, prediction, probabilities, labels } = probe
  return (
    <section aria-label="The text as read" className={stale ? 'opacity-60' : ''}>
      <p className="headline">
        <HeatText prompt={probe} grain={grain} heat={fired && { positions: fired.positions, values: fired.values, max }} />
      </p>
      <div className="mt-1.5 flex flex-wrap items-center gap-x-5 gap-y-1 text-xs text-soft">
        {fired && <HeatLegend max={max} what={`Feature ${fired.feature}`} />}
        <span className="tabular-nums">{number(probe.n_active)} features fire</span>
        {spliced && (
          <Faithfulness
            prediction={prediction}
            spliced={spliced.prediction}
            deltaP={(spliced.probabilities[prediction] ?? 0) - (probabilities[prediction] ?? 0)}
            labels={labels}
          />
        )}
      </div>
      <TokenEffects probe={probe} />
    </section>
  )
}

/** The words that matter most for the prediction, by the effects of all features on their tokens. */
function TokenEffects({ probe }: { probe: Probe }) {
  const words = stretches(probe)
    .filter(({ positions }) => positions.length > 0)
    .map(({ text, positions }) => ({
      text,
      place: positions[0],
      effect: positions.reduce((sum, position) => sum + (probe.token_effects[position] ?? 0), 0),
    }))
    .sort((one, other) => Math.abs(other.effect) - Math.abs(one.effect))
  return (
    <p className="mt-1 text-xs text-soft">
      Effect by word:{' '}
      {words.slice(0, 6).map(({ text, place, effect }, i) => (
        <span key={place}>
          {i > 0 && ' · '}
          <Word className="text-ink">{text}</Word> <span className="tabular-nums">{signed(effect)}</span>
        </span>
      ))}
    </p>
  )
}

function Changes({ before, after, href, onLight }: {
  before: Probe
  after: Probe
  href: (feature: number) => string
  onLight: (feature: number | undefined) => void
}) {
  const found = changes(before.features, after.features).slice(0, 8)
  if (found.length === 0) return null
  return (
    <section aria-label="Features that change" className="text-xs">
      <h3 className="eyebrow">Features that change with the text</h3>
      <ul className="mt-1 columns-2 gap-x-6">
        {found.map(({ feature, word, before: was, after: is }) => (
          <li key={feature} className="truncate" onPointerEnter={() => onLight(feature)}>
            <a href={href(feature)} className="text-soft hover:underline">{feature}</a> <Word>{word}</Word>{' '}
            <span className="tabular-nums">{was ? number(was) : '–'} → {is ? number(is) : '–'}</span>
          </li>
        ))}
      </ul>
      <p className="mt-0.5 text-faint">Activations among the 12 features with the largest effect; – is not among them.</p>
    </section>
  )
}
