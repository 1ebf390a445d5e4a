import { useState } from 'react'
import { SHARED } from '../../base'
import { Waterfall } from '../../components/causes/Waterfall'
import { Notice } from '../../components/Notices'
import { go } from '../../hooks/useAddress'
import { useDebounced } from '../../hooks/useDebounced'
import { useHeadline } from '../../hooks/useHeadlines'
import type { RunMetadata } from '../../interpAPI'
import { FEATURES, writeAddress, type BenchAddress } from '../../lib/address'
import { readBench, withinLimits, writeBench, type BenchLimits, type BenchState } from '../../lib/bench'
import { Audit } from './Audit'
import { FeatureChanges } from './FeatureChanges'
import { FeatureSliders } from './FeatureSliders'
import { FlipButtons } from './FlipButtons'
import { Probabilities } from './Probabilities'
import { TextAsRead } from './TextAsRead'
import { useIntervene, useProbe } from './useLive'

/** A change of the text or of a slider is sent to the model after this pause, in ms. */
const SETTLED_MS = 120

/** The two halves of the bench: the text with its prediction, and its features with their edits. */
export function Workspace({ written, limits, address, run }: {
  /** `bench` of the address, in which all of this is kept. */
  written: string
  limits: BenchLimits
  address: BenchAddress
  run: RunMetadata
}) {
  const field = useDebounced(written, (bench) => go({ ...address, bench }, true), SETTLED_MS)
  const draft = withinLimits(readBench(field.draft), limits)
  const setDraft = (next: BenchState) => field.type(writeBench(next))
  const asked = withinLimits(readBench(written), limits)
  const [lit, setLit] = useState<number>()
  const { labels, run_id } = run
  const probe = useProbe(run_id, asked.text, true)
  const compared = asked.from !== asked.text && asked.from.trim() !== ''
  const original = useProbe(run_id, asked.from, compared)
  const edited = useIntervene(run_id, asked.text, asked.edits, true)
  const now = asked.text.trim() ? probe.data : undefined
  const after = asked.edits.length > 0 ? edited.data?.after[0] : undefined
  const headline = useHeadline(run_id, address.headline)
  const trueLabel = run.labelled && headline?.text === asked.text ? headline.label : undefined
  const error = probe.error ?? edited.error
  const href = (feature: number) => writeAddress({ ...FEATURES, run: address.run, feature })

  return (
    <div className="grid grid-cols-1 gap-x-10 gap-y-5 lg:grid-cols-[minmax(0,1fr)_minmax(0,1.1fr)]">
      <div className="min-w-0 space-y-4">
        <label className="block">
          <span className="eyebrow">Headline</span>
          <textarea
            rows={3}
            maxLength={limits.max_characters}
            value={draft.text}
            placeholder="Type a headline"
            onChange={(event) => setDraft({ ...draft, text: event.target.value })}
            className="headline mt-1 block w-full resize-y rounded-md border border-edge bg-raised px-3 py-2"
          />
        </label>
        {error && <Notice tone="wrong">{error.message}</Notice>}
        {now && <TextAsRead probe={now} lit={lit} grain={address.grain} stale={probe.stale} />}
        {draft.from !== draft.text && (
          <p className="flex flex-wrap gap-x-4 text-xs">
            <button type="button" className="quiet" onClick={() => setDraft({ ...draft, text: draft.from })}>Restore the original text</button>
            <button type="button" className="quiet" onClick={() => setDraft({ ...draft, from: draft.text })}>Make this text the original</button>
          </p>
        )}
        <div className="grid grid-cols-1 gap-x-8 gap-y-3 sm:grid-cols-2">
          <Probabilities title={compared ? 'Before: the original text' : 'Before'} prediction={compared ? original.data : now} labels={labels} />
          <Probabilities
            title={after ? 'After: features edited' : compared ? 'After: this text' : 'After: no edits yet'}
            prediction={after ?? now}
            before={compared ? original.data : now}
            labels={labels}
          />
        </div>
        {compared && original.data && now && <FeatureChanges before={original.data} after={now} href={href} onLight={setLit} />}
        {now && (
          <FlipButtons
            key={asked.text}
            run={run_id}
            text={asked.text}
            prediction={now.prediction}
            label={trueLabel}
            labels={labels}
            onEdits={(edits) => setDraft({ ...draft, edits })}
          />
        )}
        {probe.whole?.base && (
          <Waterfall
            causes={{ ...probe.whole, base: probe.whole.base, features: probe.whole.features.map((one) => ({ ...one, alone: one.ablation?.logits })) }}
            index={probe.whole.prediction}
            labels={labels}
            found={probe.whole.found_names}
            words={new Map(probe.whole.features.map(({ feature, word }) => [feature, word]))}
            agreement={undefined}
            href={href}
            onLight={setLit}
          />
        )}
      </div>
      <div className="min-w-0 space-y-6">
        {now && (
          <FeatureSliders
            fired={now.features}
            found={now.found_names}
            edits={draft.edits}
            maxEdits={limits.max_edits}
            prediction={now.prediction}
            labels={labels}
            href={href}
            lit={lit}
            onLight={setLit}
            onEdits={(edits) => setDraft({ ...draft, edits })}
          />
        )}
        {SHARED === undefined && <Audit run={run} features={asked.edits.map(({ feature }) => feature)} />}
      </div>
    </div>
  )
}
