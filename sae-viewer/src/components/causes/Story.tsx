import { Link } from 'wouter'
import { useLabelled } from '../../hooks/useLabelled'
import { useLabel } from '../../hooks/useLabels'
import type { FoundName, Headline } from '../../interpAPI'
import { className } from '../../lib/classes'
import { signed } from '../../lib/effects'
import { story } from '../../lib/story'
import { FeatureCalled } from '../FeatureName'
import { Word } from '../HeatText'

interface Linked {
  href: (feature: number) => string
  onLight: (feature: number | undefined) => void
  /** Whether features stand by their numbers alone, because chips below name them. */
  brief?: boolean
}

/** Why a headline was predicted as it was, in a sentence or two. */
export function Story({ headline, labels, className: given = '', ...linked }: Linked & {
  headline: Headline
  labels: readonly string[]
  className?: string
}) {
  const parts = story(headline, useLabelled())
  if (parts.length === 0) return null
  return (
    <p aria-label="Why" className={`max-w-[52rem] text-soft wrap-anywhere ${given}`}>
      {parts.map((part, i) => {
        switch (part.kind) {
          case 'text':
            return part.text
          case 'class':
            return (
              <bdi key={i} className="font-semibold text-ink">
                {className(labels, part.index)}
              </bdi>
            )
          case 'word':
            return (
              <Word key={i} className="text-ink italic">
                {part.text}
              </Word>
            )
          case 'feature':
            return <Cause key={i} feature={part.feature} effect={part.effect} found={headline.found_names[part.feature]} {...linked} />
        }
      })}
    </p>
  )
}

/** A feature with its name, where it has one, and its effect. */
function Cause({ feature, effect, found, href, onLight, brief = false }: Linked & { feature: number; effect: number; found: FoundName | undefined }) {
  const label = useLabel(feature)
  const named = !brief && (found !== undefined || Boolean(label?.name))
  return (
    <Link
      href={href(feature)}
      className="text-ink underline decoration-edge underline-offset-2 hover:decoration-ink"
      onPointerEnter={() => onLight(feature)}
      onPointerLeave={() => onLight(undefined)}
      onFocus={() => onLight(feature)}
      onBlur={() => onLight(undefined)}
    >
      {feature}{' '}
      {named && (
        <>
          ‘
          <span className="[&_bdi]:whitespace-normal">
            <FeatureCalled feature={feature} found={found} word={undefined} />
          </span>
          ’{' '}
        </>
      )}
      <span className="whitespace-nowrap tabular-nums">{signed(effect)}</span>
    </Link>
  )
}
