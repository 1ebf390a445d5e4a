import { useState } from 'react'
import { Link } from 'wouter'
import type { FoundName } from '../../interpAPI'
import { classLook, className } from '../../lib/classes'
import { signed, waterfall, waterfallAxis, type Causes, type Trust, type WaterfallStep } from '../../lib/effects'
import { difference, leastNamed } from '../../lib/story'
import { FeatureCalled } from '../FeatureName'

const GRID = 'grid grid-cols-[minmax(5.5rem,1fr)_2.75rem_2.75rem_minmax(5rem,1.2fr)] items-center gap-x-2'

/** A class's logit as a sum: the base without features, the share of each feature, all others. Beside each share stands the feature's ablation alone. */
export function Waterfall({ causes, index, labels, words, found, agreement, href, onLight }: {
  causes: Causes
  /** The class. */
  index: number
  labels: readonly string[]
  /** The word on which a feature fires most. */
  words: ReadonlyMap<number, string>
  /** The names that the analysis found. */
  found: Record<number, FoundName | undefined>
  /** How estimates agree with ablations in this run, where that is known. */
  agreement: Trust | undefined
  href: (feature: number) => string
  onLight?: (feature: number | undefined) => void
}) {
  const [all, setAll] = useState(false)
  const least = leastNamed(causes.features.map(({ effects }) => effects[index] ?? 0))
  const small = causes.features.filter(({ effects }) => Math.abs(effects[index] ?? 0) < least).length
  const steps = waterfall(causes, index, all ? 0 : least)
  const measured = steps.some(({ alone }) => alone !== undefined)
  const { low, high } = waterfallAxis(steps)
  const at = (x: number) => (100 * (Math.min(high, Math.max(low, x)) - low)) / (high - low)
  const base = causes.base[index] ?? 0
  const { color } = classLook(labels, index)
  const name = className(labels, index)
  const span = (from: number, to: number) => ({ left: `${at(Math.min(from, to))}%`, width: `max(2px, ${at(Math.max(from, to)) - at(Math.min(from, to))}%)` })
  return (
    <figure aria-label={`Waterfall of the ${name} logit`} className="min-w-0 text-xs">
      <figcaption className="mb-1.5 text-soft">
        The shares add up to the <ClassRef name={name} /> logit. A filled bar raises it, a hollow bar lowers it.
      </figcaption>
      <div className={`${GRID} border-b border-line text-faint`} aria-hidden="true">
        <span>feature</span>
        <span className="text-right">share</span>
        <span className="text-right">{measured && 'alone'}</span>
        <span className="truncate pl-1">{measured && 'bar: share, line: alone'}</span>
      </div>
      <ol>
        {steps.map((step, i) => (
          <li
            key={i}
            className={`${GRID} border-b border-line/60 py-0.5 hover:bg-sunk`}
            title={step.alone === undefined ? undefined : difference(step.effect, step.alone)}
            onPointerEnter={() => onLight?.(step.feature)}
            onPointerLeave={() => onLight?.(undefined)}
          >
            <StepName step={step} words={words} found={found} href={href} label={name} />
            <span className="text-right tabular-nums">
              <span className="sr-only">share </span>
              {signed(step.effect)}
            </span>
            <span className="text-right text-soft tabular-nums">
              {step.alone !== undefined && (
                <>
                  <span className="sr-only">alone </span>
                  {signed(step.alone)}
                </>
              )}
            </span>
            <span className="relative h-3" aria-hidden="true">
              <span className="absolute inset-y-[-3px] w-px bg-line" style={{ left: `${at(base)}%` }} />
              {step.kind === 'base' || step.kind === 'logit' ? (
                <span className="absolute inset-y-0 -ml-0.5 w-1 rounded-[2px] bg-ink" style={{ left: `${at(step.end)}%` }} />
              ) : (
                <span
                  className="absolute inset-y-0 rounded-[2px] border"
                  style={{
                    ...span(step.start, step.end),
                    borderColor: step.kind === 'feature' ? color : 'var(--color-edge)',
                    backgroundColor: step.effect < 0 ? 'transparent' : step.kind === 'feature' ? color : 'var(--color-edge)',
                  }}
                />
              )}
              {step.alone !== undefined && <span className="absolute top-[calc(50%-1px)] h-0.5 bg-ink" style={span(step.start, step.start + step.alone)} />}
            </span>
          </li>
        ))}
      </ol>
      {(small > 0 || all) && (
        <button type="button" aria-expanded={all} className="quiet mt-1.5" onClick={() => setAll(!all)}>
          {all ? 'Sum up the small shares' : `Show ${small} small ${small === 1 ? 'share' : 'shares'}`}
        </button>
      )}
      <Reading name={name} steps={steps} measured={measured} agreement={agreement} low={low} high={high} />
    </figure>
  )
}

/** What the two numbers mean, how far the first can be trusted, and why they differ for the strongest feature. */
function Reading({ name, steps, measured, agreement, low, high }: {
  name: string
  steps: WaterfallStep[]
  measured: boolean
  agreement: Trust | undefined
  low: number
  high: number
}) {
  const features = steps.filter(({ kind, alone }) => kind === 'feature' && alone !== undefined)
  const [strongest] = features.sort((one, other) => Math.abs(other.effect) - Math.abs(one.effect))
  const why = strongest?.alone === undefined ? '' : difference(strongest.effect, strongest.alone)
  return (
    <div className="mt-1.5 max-w-[46rem] space-y-1 text-soft">
      {strongest?.alone !== undefined && why && (
        <p>
          Feature {strongest.feature}: share {signed(strongest.effect)}, but ablating only this feature changes the logit by {signed(-strongest.alone)}: {why}.
        </p>
      )}
      <p className="text-faint">
        <b className="font-semibold">Share</b>: integrated gradients, from no feature to all. The shares add up, but what features do together is shared out among them
        {agreement?.integrated === undefined ? '.' : `; in this run they agree with ablation by ${agreement.integrated.toFixed(2)} (correlation).`}{' '}
        {measured && (
          <>
            <b className="font-semibold">Alone</b>: true ablation, what the logit loses when only this feature is ablated.{' '}
          </>
        )}
        {agreement?.gradient !== undefined && (
          <>
            <b className="font-semibold">Candidates</b> for flips: gradient × activation, which agrees with ablation by {agreement.gradient.toFixed(2)}.{' '}
          </>
        )}
        The axis is the <ClassRef name={name} /> logit minus the mean of all logits, from {signed(low)} to {signed(high)}.
      </p>
    </div>
  )
}

function StepName({ step, words, found, href, label }: {
  step: WaterfallStep
  words: ReadonlyMap<number, string>
  found: Record<number, FoundName | undefined>
  href: (feature: number) => string
  label: string
}) {
  if (step.feature !== undefined) {
    return (
      <Link href={href(step.feature)} className="flex min-w-0 gap-1 hover:underline">
        <span className="text-soft">{step.feature}</span>
        <FeatureCalled feature={step.feature} found={found[step.feature]} word={words.get(step.feature) || undefined} />
      </Link>
    )
  }
  const names = { base: 'no features', others: 'all others', logit: `${label} logit`, feature: '' }
  return <span className={step.kind === 'logit' ? 'font-semibold' : 'text-soft'}>{names[step.kind]}</span>
}

/** The name of a class in a sentence, set off from it, as a name may be several common words. */
function ClassRef({ name }: { name: string }) {
  return <bdi className="font-semibold">{name}</bdi>
}
