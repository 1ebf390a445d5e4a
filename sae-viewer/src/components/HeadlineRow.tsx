import { memo, useEffect, useRef, useState } from 'react'
import type { FiredFeature, Headline } from '../interpAPI'
import { count, number, percent } from '../lib/format'
import { className } from '../lib/classes'
import type { Grain } from '../lib/text'
import { FeatureChip, wordsLit } from './FeatureChip'
import { HeatLegend, HeatText, Word } from './HeatText'
import { ClassMark, isCorrect, Outcome, OutcomeLine, Verdict } from './Outcome'

const FIRST = 3

export interface HeadlineRowProps {
  headline: Headline
  labels: readonly string[]
  grain: Grain
  /** 0-based place in the list. */
  row: number
  open: boolean
  onOpen: (row: number, open: boolean) => void
  featureHref: (feature: number) => string
}

/**
 * A headline with what was predicted and its strongest features: three, or in the open row all. Scrolling draws
 * new rows only.
 */
export const HeadlineRow = memo(function HeadlineRow(props: HeadlineRowProps) {
  const { headline, labels, grain, row, open, onOpen, featureHref } = props
  const [pointed, setPointed] = useState<number>()
  const [chosen, setChosen] = useState<number>()
  const article = useRef<HTMLElement>(null)
  const toggled = useRef(false)
  useEffect(() => {
    // The button that opened the row has gone; its counterpart takes the focus.
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
    (open ? (features.find(({ feature }) => feature === chosen) ?? features[0]) : undefined)
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
        <p className="mt-1 text-xs text-faint tabular-nums">no. {count(headline.headline + 1)}</p>
      </div>
      <div className="min-w-0">
        <p className={`headline ${open ? '' : 'line-clamp-4'}`}>
          <HeatText
            prompt={headline}
            grain={grain}
            heat={lit && { positions: lit.positions, values: lit.values, max: Math.max(...lit.values) }}
          />
        </p>
        <div className="mt-1 md:hidden">
          <OutcomeLine prompt={headline} labels={labels} />
        </div>
        {open ? (
          <AllFeatures
            headline={headline}
            labels={labels}
            lit={lit}
            onPoint={setPointed}
            onChoose={setChosen}
            onClose={() => toggle(false)}
            featureHref={featureHref}
          />
        ) : (
          <div className="mt-2 flex flex-wrap items-center gap-x-2 gap-y-1.5">
            {features.slice(0, FIRST).map((fired) => (
              <FeatureChip
                key={fired.feature}
                fired={fired}
                prompt={headline}
                href={featureHref(fired.feature)}
                strongest={strongest}
                onLight={setPointed}
              />
            ))}
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

function AllFeatures({ headline, labels, lit, onPoint, onChoose, onClose, featureHref }: {
  headline: Headline
  labels: readonly string[]
  lit: FiredFeature | undefined
  onPoint: (feature: number | undefined) => void
  onChoose: (feature: number) => void
  onClose: () => void
  featureHref: (feature: number) => string
}) {
  const strongest = headline.features[0]?.activation ?? 1
  return (
    <div className="mt-3">
      <ol className="border-t border-line" onPointerLeave={() => onPoint(undefined)}>
        {headline.features.map((fired) => (
          <li
            key={fired.feature}
            className={`grid grid-cols-[minmax(0,1fr)_auto] items-center gap-x-4 border-b border-line py-1 sm:grid-cols-[minmax(0,16rem)_9.5rem_minmax(0,1fr)] ${
              fired === lit ? 'bg-sunk' : ''
            }`}
            onPointerEnter={() => onPoint(fired.feature)}
          >
            <span className="min-w-0 pl-2">
              <FeatureChip
                fired={fired}
                prompt={headline}
                href={featureHref(fired.feature)}
                onLight={onPoint}
              />
            </span>
            <button
              type="button"
              aria-pressed={fired === lit}
              aria-label={`Light up feature ${fired.feature}, activation ${number(fired.activation)}`}
              onClick={() => onChoose(fired.feature)}
              className="flex h-6 items-center gap-2 pr-2 text-xs"
            >
              <span className="w-10 text-right tabular-nums">{number(fired.activation)}</span>
              <span className="h-2 w-20 rounded-[2px] bg-sunk">
                <span
                  className="block h-full rounded-[2px] bg-bar"
                  style={{ width: `${(100 * fired.activation) / strongest}%` }}
                />
              </span>
            </button>
            <span className="col-span-2 truncate pl-2 text-xs text-soft sm:col-span-1 sm:pl-0">
              {wordsLit(fired, headline).map(({ word, activation, position }, i) => (
                <span key={position}>
                  {i > 0 && <span className="text-faint"> · </span>}
                  <Word className="text-ink">{word}</Word>{' '}
                  <span className="tabular-nums">{number(activation)}</span>
                </span>
              ))}
            </span>
          </li>
        ))}
      </ol>
      <div className="mt-2.5 flex flex-wrap items-center gap-x-6 gap-y-2 text-xs text-soft">
        {lit && <HeatLegend max={Math.max(...lit.values)} what={`Feature ${lit.feature} here`} />}
        <span className="flex flex-wrap gap-x-3">
          {headline.probabilities.map((p, i) => (
            <span key={i} className="inline-flex items-center gap-1.5">
              <ClassMark labels={labels} index={i} />
              {className(labels, i)} <span className="tabular-nums">{percent(p)}</span>
            </span>
          ))}
        </span>
        <button type="button" data-row className="quiet" aria-expanded onClick={onClose}>
          Show fewer
        </button>
      </div>
    </div>
  )
}
