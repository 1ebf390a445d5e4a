import { Fragment, useMemo, type CSSProperties } from 'react'
import type { Prompt } from '../interpAPI'
import { number } from '../lib/format'
import { HEAT_STEPS, heatStep } from '../lib/heat'
import { activationOn, around, breakable, stretches, visible, type Grain } from '../lib/text'

export interface Heat {
  positions: number[]
  values: number[]
  /** The activation with the deepest colour. */
  max: number
  /** The position whose word is underlined. */
  peak?: number
}

/** The effects of a headline's words on the logit of a class. */
export interface Shade {
  /** [n_words] */
  effects: readonly number[]
  /** The size of the effect with the deepest colour. */
  max: number
  /** The colour of the class, in CSS. */
  color: string
  /** What is said of a word on hovering, given its effect. */
  describe: (effect: number) => string
}

/** The least share of the largest effect that is shaded. */
const LEAST_SHADE = 0.12
/** The share of the class's colour in the deepest shade, in per cent: text stays readable on it. */
const DEEPEST_SHADE = 46

/** A headline as written, its words coloured where a feature fires or by their effects. Text that the classifier never read is grey. */
export function HeatText({ prompt, heat, shade, grain, context, unread = true }: {
  prompt: Pick<Prompt, 'text' | 'tokens' | 'starts' | 'ends' | 'words'>
  heat?: Heat | undefined
  /** Used where there is no heat. */
  shade?: Shade | undefined
  grain: Grain
  /** Words shown on either side of the peak; all when undefined. */
  context?: number | undefined
  /** Whether text between the words is known not to have been read. */
  unread?: boolean
}) {
  const whole = useMemo(() => stretches(prompt, grain), [prompt, grain])
  const { parts, cutBefore, cutAfter } = around(whole, heat?.peak, context)
  return (
    <bdi className="whitespace-pre-wrap">
      {cutBefore && <Cut>… </Cut>}
      {parts.map((part, i) => {
        if (part.kind === 'gap') return part.text
        if (part.kind === 'unread' && !unread) return <Text key={i}>{part.text}</Text>
        if (part.kind === 'unread') {
          return (
            <span key={i} className="text-faint" title="The classifier did not read this text">
              <Text>{part.text}</Text>
            </span>
          )
        }
        const activation = heat ? activationOn(part, heat) : 0
        const step = heat ? heatStep(activation, heat.max) : 0
        const boundary = grain === 'pieces' ? 'mx-px rounded-[3px] outline outline-line' : ''
        const special = part.kind === 'special' ? 'font-mono text-xs text-faint' : ''
        const effect = heat ? 0 : (shade?.effects[prompt.words[part.positions[0] ?? -1] ?? -1] ?? 0)
        if (shade && Math.abs(effect) >= LEAST_SHADE * shade.max) {
          return (
            <mark key={i} data-effect={effect} title={shade.describe(effect)} style={shadeOf(effect, shade)} className={`rounded-[3px] box-decoration-clone text-inherit ${boundary}`}>
              <Text>{part.text}</Text>
            </mark>
          )
        }
        if (step === 0) {
          return (
            <span key={i} className={`${boundary} ${special}`}>
              <Text>{part.text}</Text>
            </span>
          )
        }
        const peak = heat?.peak !== undefined && part.positions.includes(heat.peak)
        return (
          <mark
            key={i}
            data-heat={step}
            data-activation={activation}
            title={`activation ${number(activation)}`}
            className={`heat rounded-[3px] box-decoration-clone ${boundary} ${
              peak ? 'underline decoration-2 underline-offset-4' : ''
            }`}
          >
            <Text>{part.text}</Text>
          </mark>
        )
      })}
      {cutAfter && <Cut> …</Cut>}
    </bdi>
  )
}

/** Filled for an effect that raises the class’s logit, underlined with dashes for one that lowers it. */
function shadeOf(effect: number, { max, color }: Shade): CSSProperties {
  const depth = Math.min(1, Math.abs(effect) / max)
  if (effect > 0) return { backgroundColor: `color-mix(in oklab, ${color} ${(DEEPEST_SHADE * depth).toFixed(0)}%, transparent)` }
  return { backgroundColor: 'transparent', textDecoration: `underline dashed ${(1 + 2 * depth).toFixed(1)}px ${color}`, textUnderlineOffset: '4px' }
}

/** The legend of the shades: the words for a class are filled, those against it underlined. */
export function ShadeLegend({ shade, name }: { shade: Shade; name: string }) {
  return (
    <p className="flex flex-wrap items-center gap-x-2 text-xs text-soft">
      <span>Effect of each word:</span>
      <span className="rounded-[3px] px-1" style={shadeOf(shade.max, shade)}>
        raises the <bdi>{name}</bdi> logit
      </span>
      <span style={shadeOf(-shade.max / 2, shade)}>lowers it</span>
    </p>
  )
}

/** Part of a headline. A word on a line of its own uses `Word` instead, because a <wbr> breaks even where nothing wraps. */
function Text({ children }: { children: string }) {
  return breakable(visible(children)).map((piece, i) => (
    <Fragment key={i}>
      {i > 0 && <wbr />}
      {piece}
    </Fragment>
  ))
}

function Cut({ children }: { children: string }) {
  return (
    <span className="text-faint" title="The words further away are not shown">
      {children}
    </span>
  )
}

/** A word as written, in its own text direction. */
export function Word({ children, className = '' }: { children: string; className?: string }) {
  return <bdi className={`font-serif ${className}`}>{visible(children)}</bdi>
}

/** The legend of the heat: eight equal steps from 0 to `max`. */
export function HeatLegend({ max, what }: { max: number; what: string }) {
  return (
    <div role="img" aria-label={`${what}: colours from 0 to ${number(max)} in ${HEAT_STEPS} equal steps`} className="flex items-center gap-2 text-xs text-soft">
      <span>{what}</span>
      <span className="tabular-nums">0</span>
      <span className="flex overflow-hidden rounded-[3px]">
        {Array.from({ length: HEAT_STEPS }, (_, i) => (
          <span key={i} data-heat={i + 1} className="heat h-3 w-4" />
        ))}
      </span>
      <span className="tabular-nums">{number(max)}</span>
    </div>
  )
}
