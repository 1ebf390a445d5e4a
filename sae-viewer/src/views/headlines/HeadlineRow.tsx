import { memo, useEffect, useRef, useState } from 'react'
import { EffectChips } from '../../components/causes/EffectChips'
import { HeadlineCauses } from '../../components/causes/HeadlineCauses'
import { Story } from '../../components/causes/Story'
import { FeatureChip } from '../../components/FeatureChip'
import { HeatText, ShadeLegend, type Shade } from '../../components/HeatText'
import { isCorrect, Outcome, OutcomeLine, Verdict } from '../../components/Outcome'
import type { Headline } from '../../interpAPI'
import { classLook, className } from '../../lib/classes'
import { signed } from '../../lib/effects'
import { count } from '../../lib/format'
import { featureEffects, wordEffects } from '../../lib/story'
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
  /** The address of the bench on a headline. */
  benchHref: (headline: Headline) => string
}

/**
 * A headline with its prediction and its strongest features: three, or all of them in the open row. It is memoised,
 * so that scrolling draws new rows only.
 */
export const HeadlineRow = memo(function HeadlineRow(props: HeadlineRowProps) {
  const { headline, run, labels, grain, row, open, onOpen, featureHref } = props
  const [pointed, setPointed] = useState<number>()
  const [cause, setCause] = useState<number>()
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
  const causal = props.effects && headline.effects !== null
  const chosen = features.find(({ feature }) => feature === props.lit)
  const lit = features.find(({ feature }) => feature === pointed) ?? (open ? (chosen ?? (causal ? undefined : features[0])) : undefined)
  const shade = causal || cause !== undefined ? shadeOf(headline, labels, cause) : undefined
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
            heat={cause === undefined && lit ? { positions: lit.positions, values: lit.values, max: Math.max(...lit.values) } : undefined}
            shade={shade}
          />
        </p>
        {open && shade && !lit && <ShadeLegend shade={shade} name={className(labels, headline.prediction)} />}
        {headline.similarity !== null && (
          <p className="text-xs text-soft" title="Cosine of this headline and the text searched for, as vectors of a sentence encoder">
            similarity of meaning {headline.similarity.toFixed(2)}
          </p>
        )}
        {!open && <Cells cells={headline.columns} names={props.shown} inLine />}
        <div className="mt-1 md:hidden">
          <OutcomeLine prompt={headline} labels={labels} />
        </div>
        {open ? (
          <>
            <Cells cells={headline.columns} names={Object.keys(headline.columns)} />
            <HeadlineCauses
              headline={headline}
              run={run}
              labels={labels}
              href={featureHref}
              benchHref={props.benchHref(headline)}
              onLight={setCause}
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
          <>
            {causal && <Story headline={headline} labels={labels} href={featureHref} onLight={setCause} brief className="mt-1.5" />}
            <div className="mt-2 flex flex-wrap items-center gap-x-2 gap-y-1.5">
              {causal ? (
                <EffectChips headline={headline} labels={labels} first={FIRST} href={featureHref} onLight={setCause} />
              ) : (
                features.slice(0, FIRST).map((fired) => (
                  <FeatureChip
                    key={fired.feature}
                    fired={fired}
                    found={headline.found_names[fired.feature]}
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
                  {causal ? 'Show the causes' : `Show all ${features.length}`}
                </button>
              )}
            </div>
          </>
        )}
      </div>
      <div className="hidden md:block">
        <Outcome prompt={headline} labels={labels} />
      </div>
    </article>
  )
})

/** The least effect, in logits, that has the deepest shade, so that negligible effects look small. */
const LEAST_DEEPEST = 0.25

/** The shades of a headline's words by their effects, or by those of one feature. */
function shadeOf(headline: Headline, labels: readonly string[], feature: number | undefined): Shade {
  const effects = feature === undefined ? (wordEffects(headline)?.effects ?? []) : featureEffects(headline, feature)
  const name = className(labels, headline.prediction)
  const whose = feature === undefined ? '' : ` of feature ${feature}`
  return {
    effects,
    max: Math.max(LEAST_DEEPEST, ...effects.map(Math.abs)),
    color: classLook(labels, headline.prediction).color,
    describe: (effect) => `effect${whose} on the ${name} logit: ${signed(effect)}`,
  }
}
