import { memo, useEffect, useRef, useState } from 'react'
import { EffectChips } from '../../components/causes/EffectChips'
import { HeadlineCauses } from '../../components/causes/HeadlineCauses'
import { FeatureChip } from '../../components/FeatureChip'
import { HeatText } from '../../components/HeatText'
import { isCorrect, Outcome, OutcomeLine, Verdict } from '../../components/Outcome'
import type { Headline } from '../../interpAPI'
import { count } from '../../lib/format'
import type { Grain } from '../../lib/text'
import { OpenHeadline } from './OpenHeadline'
import { Cells } from './ShownColumns'

/** Features shown before the row is opened. */
const FIRST = 3

interface HeadlineRowProps {
  headline: Headline
  run: string
  labels: readonly string[]
  grain: Grain
  /** 0-based row of the list. */
  row: number
  open: boolean
  /** Whether chips show effects on the prediction instead of activations, where the run has them. */
  effects: boolean
  /** In the open row, the feature whose heat is shown; its strongest when undefined. */
  lit: number | undefined
  /** Columns of the table that the row shows. */
  shown: readonly string[]
  onOpen: (row: number, open: boolean) => void
  onLit: (feature: number) => void
  featureHref: (feature: number) => string
  headlineHref: (headline: number) => string
  /** The address of the bench on a text, over this row. */
  benchHref: (text: string, row: number) => string
}

/**
 * A headline with its prediction and its strongest features: three, or all of them in the open row. It is memoised,
 * so that scrolling draws new rows only.
 */
export const HeadlineRow = memo(function HeadlineRow(props: HeadlineRowProps) {
  const { headline, run, labels, grain, row, open, onOpen, featureHref } = props
  const [pointed, setPointed] = useState<number>()
  const article = useRef<HTMLElement>(null)
  const toggled = useRef(false)
  useEffect(() => {
    // The button that opened the row is gone, so the focus moves to the one that closes it.
    if (toggled.current) article.current?.querySelector<HTMLElement>('[data-row]')?.focus({ preventScroll: true })
    toggled.current = false
  }, [open])
  const toggle = (to: boolean) => {
    toggled.current = true
    onOpen(row, to)
  }
  const features = headline.features
  const lit =
    features.find(({ feature }) => feature === pointed) ??
    (open ? (features.find(({ feature }) => feature === props.lit) ?? features[0]) : undefined)
  const strongest = features[0]?.activation ?? 1

  return (
    <article
      ref={article}
      className={`grid has-focus-visible:bg-raised has-focus-visible:shadow-[-12px_0_0_var(--color-raised),12px_0_0_var(--color-raised)] grid-cols-1 gap-x-6 border-b border-line py-3.5 md:grid-cols-[5rem_minmax(0,1fr)_12.5rem] ${
        open ? 'bg-raised shadow-[-12px_0_0_var(--color-raised),12px_0_0_var(--color-raised)]' : ''
      }`}
      onKeyDown={(event) => {
        if (event.key === 'Escape' && open) toggle(false)
      }}
    >
      <div className="hidden pt-0.5 text-sm md:block">
        <Verdict correct={isCorrect(headline)} />
        <p className="mt-1 text-xs text-faint tabular-nums" title={`Headline ${count(headline.headline + 1)} of the run`}>
          #{count(headline.headline + 1)}
        </p>
      </div>
      <div className="min-w-0">
        <p className={`headline ${open ? '' : 'line-clamp-4'}`}>
          <HeatText
            prompt={headline}
            grain={grain}
            heat={lit && { positions: lit.positions, values: lit.values, max: Math.max(...lit.values) }}
          />
        </p>
        {!open && <Cells cells={headline.columns} names={props.shown} inLine />}
        <div className="mt-1 md:hidden">
          <OutcomeLine prompt={headline} labels={labels} />
        </div>
        {open ? (
          <>
            <Cells cells={headline.columns} names={Object.keys(headline.columns)} />
            <HeadlineCauses
              headline={headline}
              labels={labels}
              href={featureHref}
              benchHref={props.benchHref(headline.text, row)}
              onLight={setPointed}
            />
            <OpenHeadline
              headline={headline}
              run={run}
              labels={labels}
              lit={lit}
              asked={props.lit}
              featureHref={featureHref}
              headlineHref={props.headlineHref}
              onPoint={setPointed}
              onLit={props.onLit}
              onClose={() => toggle(false)}
            />
          </>
        ) : (
          <div className="mt-2 flex flex-wrap items-center gap-x-2 gap-y-1.5">
            {props.effects && headline.effects ? (
              <EffectChips headline={headline} labels={labels} first={FIRST} href={featureHref} onLight={setPointed} />
            ) : (
              features.slice(0, FIRST).map((fired) => (
                <FeatureChip
                  key={fired.feature}
                  fired={fired}
                  prompt={headline}
                  href={featureHref(fired.feature)}
                  strongest={strongest}
                  onLight={setPointed}
                />
              ))
            )}
            {features.length === 0 && <span className="text-xs text-faint">no feature fires</span>}
            {features.length > 0 && (
              <button type="button" data-row className="quiet text-xs" aria-expanded={false} onClick={() => toggle(true)}>
                Show all {features.length}
              </button>
            )}
          </div>
        )}
      </div>
      <div className="hidden md:block">
        <Outcome prompt={headline} labels={labels} />
      </div>
    </article>
  )
})
