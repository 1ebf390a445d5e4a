import { Link } from 'wouter'
import { HeatText, type Heat } from '../../components/HeatText'
import { isCorrect, Outcome, OutcomeLine, Verdict } from '../../components/Outcome'
import type { Prompt } from '../../interpAPI'
import { number } from '../../lib/format'
import type { Grain } from '../../lib/text'

/** A headline with a feature's heat, linked to its row in the list of headlines. */
export function ExampleRow({ rank, activation, prompt, labels, heat, grain, context, href }: {
  /** 1-based rank by activation. */
  rank: number
  activation: number
  prompt: Prompt
  labels: readonly string[]
  heat: Heat
  grain: Grain
  /** Words shown on either side of the strongest; all when undefined. */
  context: number | undefined
  href: string
}) {
  return (
    <li className="grid scroll-my-16 grid-cols-[3.25rem_minmax(0,1fr)] gap-x-4 border-b border-line py-2.5 md:grid-cols-[3.5rem_minmax(0,1fr)_5rem_12.5rem]">
      <p className="pt-0.5 text-right">
        <span className="block text-base tabular-nums">{number(activation)}</span>
        <span className="block text-xs text-faint">rank {rank}</span>
      </p>
      <Link href={href} data-example className="headline group block self-start">
        <span className="decoration-edge underline-offset-4 group-hover:underline">
          <HeatText prompt={prompt} heat={heat} grain={grain} context={context} />
        </span>
      </Link>
      <div className="col-start-2 mt-1 md:hidden">
        <OutcomeLine prompt={prompt} labels={labels} />
      </div>
      <p className="hidden pt-1 text-sm md:block">
        <Verdict correct={isCorrect(prompt)} />
      </p>
      <div className="hidden pt-0.5 md:block">
        <Outcome prompt={prompt} labels={labels} />
      </div>
    </li>
  )
}
