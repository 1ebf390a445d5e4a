import { Link } from 'wouter'
import { useLabelled } from '../../hooks/useLabelled'
import type { Headline } from '../../interpAPI'
import { className } from '../../lib/classes'
import { signed } from '../../lib/effects'
import { story } from '../../lib/story'
import { FeatureCalled } from '../FeatureName'
import { Word } from '../HeatText'

/** Why a headline was predicted as it was, in a sentence or two. */
export function Story({ headline, labels, href, onLight, className: given = '' }: {
  headline: Headline
  labels: readonly string[]
  href: (feature: number) => string
  onLight: (feature: number | undefined) => void
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
            return (
              <Link
                key={i}
                href={href(part.feature)}
                className="text-ink hover:underline"
                onPointerEnter={() => onLight(part.feature)}
                onPointerLeave={() => onLight(undefined)}
                onFocus={() => onLight(part.feature)}
                onBlur={() => onLight(undefined)}
              >
                {part.feature} <FeatureCalled feature={part.feature} found={headline.found_names[part.feature]} word={undefined} />{' '}
                <span className="whitespace-nowrap tabular-nums">{signed(part.effect)}</span>
              </Link>
            )
        }
      })}
    </p>
  )
}
