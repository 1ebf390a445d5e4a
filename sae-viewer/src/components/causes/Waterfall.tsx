import { Link } from 'wouter'
import { classLook, className } from '../../lib/classes'
import { signed, waterfall, waterfallAxis, type WaterfallStep } from '../../lib/effects'
import { Word } from '../HeatText'

type Causes = Parameters<typeof waterfall>[0]

/** A class's logit as a sum: the base without features, the effect of each feature, the rest. */
export function Waterfall({ causes, index, labels, words, href, onLight }: {
  causes: Causes
  /** The class. */
  index: number
  labels: readonly string[]
  /** The word on which a feature fires most. */
  words: ReadonlyMap<number, string>
  href: (feature: number) => string
  onLight?: (feature: number | undefined) => void
}) {
  const steps = waterfall(causes, index)
  const { low, high } = waterfallAxis(steps)
  const at = (x: number) => (100 * (x - low)) / (high - low)
  const base = causes.base[index] ?? 0
  const { color } = classLook(labels, index)
  const name = className(labels, index)
  return (
    <figure aria-label={`Waterfall of the ${name} logit`} className="text-xs">
      <figcaption className="mb-2 text-soft">
        The base, the listed effects and the rest add up to the <ClassRef name={name} /> logit. A filled bar speaks for <ClassRef name={name} />, a hollow one against it.
      </figcaption>
      <ol>
        {steps.map((step, i) => (
          <li
            key={i}
            className="grid grid-cols-[minmax(6rem,12rem)_3.25rem_minmax(0,1fr)] items-center gap-x-2 border-b border-line/60 py-0.5 hover:bg-sunk"
            onPointerEnter={() => onLight?.(step.feature)}
            onPointerLeave={() => onLight?.(undefined)}
          >
            <StepName step={step} words={words} href={href} label={name} />
            <span className="text-right tabular-nums">{signed(step.effect)}</span>
            <span className="relative h-3" aria-hidden="true">
              <span className="absolute inset-y-[-3px] w-px bg-line" style={{ left: `${at(base)}%` }} />
              {step.kind === 'base' || step.kind === 'logit' ? (
                <span className="absolute inset-y-0 -ml-0.5 w-1 rounded-[2px] bg-ink" style={{ left: `${at(step.end)}%` }} />
              ) : (
                <span
                  className="absolute inset-y-0 rounded-[2px] border"
                  style={{
                    left: `${at(Math.min(step.start, step.end))}%`,
                    width: `max(2px, ${at(Math.max(step.start, step.end)) - at(Math.min(step.start, step.end))}%)`,
                    borderColor: step.kind === 'feature' ? color : 'var(--color-edge)',
                    backgroundColor: step.effect < 0 ? 'transparent' : step.kind === 'feature' ? color : 'var(--color-edge)',
                  }}
                />
              )}
            </span>
          </li>
        ))}
      </ol>
      <p className="mt-1.5 text-faint">
        The axis is the <ClassRef name={name} /> logit minus the mean of all logits, from {signed(low)} to {signed(high)}. Effects are integrated gradients,
        summed over the headline’s tokens.
      </p>
    </figure>
  )
}

function StepName({ step, words, href, label }: {
  step: WaterfallStep
  words: ReadonlyMap<number, string>
  href: (feature: number) => string
  label: string
}) {
  if (step.feature !== undefined) {
    return (
      <Link href={href(step.feature)} className="truncate hover:underline">
        <span className="text-soft">{step.feature}</span> <Word>{words.get(step.feature) ?? ''}</Word>
      </Link>
    )
  }
  const names = { base: 'base without features', rest: 'all other features', logit: `${label} logit`, feature: '' }
  return <span className={step.kind === 'logit' ? 'font-semibold' : 'text-soft'}>{names[step.kind]}</span>
}

/** The name of a class in a sentence, set off from it, as a name may be several common words. */
function ClassRef({ name }: { name: string }) {
  return <bdi className="font-semibold">{name}</bdi>
}
