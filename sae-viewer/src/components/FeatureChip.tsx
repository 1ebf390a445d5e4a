import { Tooltip } from 'radix-ui'
import { Link } from 'wouter'
import type { FiredFeature, FoundName, Prompt } from '../interpAPI'
import { number } from '../lib/format'
import { activationOn, stretches } from '../lib/text'
import { FeatureName } from './FeatureName'
import { Word } from './HeatText'

/** A link to a feature, such as `Feature 1234: rise, gain`. On hover or focus it lists the activations by word. */
export function FeatureChip({ fired, found, prompt, href, strongest, onLight }: {
  fired: FiredFeature
  found: FoundName | undefined
  prompt: Prompt
  href: string
  /** The headline's highest activation, which a full underline stands for. */
  strongest?: number
  onLight: (feature: number | undefined) => void
}) {
  return (
    <Tooltip.Root>
      <Tooltip.Trigger asChild>
        <Link
          href={href}
          onPointerEnter={() => onLight(fired.feature)}
          onPointerLeave={() => onLight(undefined)}
          onFocus={() => onLight(fired.feature)}
          onBlur={() => onLight(undefined)}
          className="chip"
        >
          <FeatureName feature={fired.feature} found={found} word={fired.word} />
          {strongest !== undefined && (
            <span aria-hidden="true" className="chip-level" style={{ width: `${(100 * fired.activation) / strongest}%` }} />
          )}
        </Link>
      </Tooltip.Trigger>
      <Tooltip.Portal>
        <Tooltip.Content side="bottom" align="start" sideOffset={6} collisionPadding={8} className="tooltip">
          <p className="font-semibold">
            Feature {fired.feature}: activation {number(fired.activation)}
          </p>
          {fired.token === '' && <p>It fires on the headline as a whole.</p>}
          <ul className="mt-1 grid grid-cols-[auto_1fr] gap-x-3">
            {firingWords(fired, prompt).map(({ word, activation, position }) => (
              <li key={position} className="contents">
                <span className="text-right tabular-nums">{number(activation)}</span>
                <Word className="truncate">{word}</Word>
              </li>
            ))}
          </ul>
        </Tooltip.Content>
      </Tooltip.Portal>
    </Tooltip.Root>
  )
}

/** The words of a headline on which a feature fires, strongest first. */
export function firingWords(fired: FiredFeature, prompt: Prompt) {
  return stretches(prompt)
    .map((part) => ({ word: part.text, activation: activationOn(part, fired), position: part.positions[0] ?? -1 }))
    .filter(({ activation }) => activation > 0)
    .sort((one, other) => other.activation - one.activation)
}
