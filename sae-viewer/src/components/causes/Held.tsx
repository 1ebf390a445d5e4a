import { Link } from 'wouter'
import type { Headline, Unflipped } from '../../interpAPI'
import { className } from '../../lib/classes'
import { count, number, percent } from '../../lib/format'
import { wordAt } from '../../lib/story'
import { FeatureCalled } from '../FeatureName'
import { Word } from '../HeatText'

/** Why ablating features does not change a prediction, and the clamped features that do. */
export function Held({ title, held, goal, headline, labels, href, onLight }: {
  title: string
  held: Unflipped
  /** The class that was to be reached; undefined for any other. */
  goal: number | undefined
  headline: Headline
  labels: readonly string[]
  href: (feature: number) => string
  onLight: (feature: number | undefined) => void
}) {
  const { reason, margin, n_needed, clamped } = held
  const prediction = <bdi className="font-semibold">{className(labels, headline.prediction)}</bdi>
  const target = goal !== undefined && <bdi className="font-semibold">{className(labels, goal)}</bdi>
  return (
    <section aria-label={title}>
      <h3 className="eyebrow">{title}</h3>
      <p className="text-soft">
        No set of features was found whose ablation changes this prediction
        {target && <> to {target}</>}:{' '}
        {reason === 'base' ? (
          <>
            with all features ablated, {target ? <>{target} is {margin.toFixed(2)} logits behind</> : <>{prediction} is {margin.toFixed(2)} logits ahead</>}. So something else can hold it: tokens that the SAE does not
            read, its reconstruction error, or its bias.
          </>
        ) : (
          <>{count(n_needed ?? 0)} must be ablated, if those with the largest estimated effects come first.</>
        )}{' '}
        {clamped ? <Clamped path={clamped} headline={headline} labels={labels} href={href} onLight={onLight} /> : 'No clamping of features was found that changes it.'}
      </p>
      {clamped && clamped.features.length > 1 && (
        <ul className="mt-1 flex flex-wrap gap-x-4">
          {clamped.features.map((feature, i) => (
            <li key={feature} className="flex max-w-full min-w-0 flex-wrap gap-x-1" onPointerEnter={() => onLight(feature)} onPointerLeave={() => onLight(undefined)}>
              <Link href={href(feature)} className="flex min-w-0 gap-1 hover:underline">
                <span className="text-soft">{feature}</span>
                <FeatureCalled feature={feature} found={headline.found_names[feature]} word={undefined} />
              </Link>
              <Level level={clamped.levels[i] ?? 0} positions={clamped.positions[i] ?? []} headline={headline} />
            </li>
          ))}
        </ul>
      )}
    </section>
  )
}

/** What clamping does, with the feature where it is a single one. */
function Clamped({ path, headline, labels, href, onLight }: {
  path: NonNullable<Unflipped['clamped']>
  headline: Headline
  labels: readonly string[]
  href: (feature: number) => string
  onLight: (feature: number | undefined) => void
}) {
  const name = className(labels, path.prediction)
  const typical = <>typical activation in <bdi className="font-semibold">{name}</bdi> headlines</>
  const probability = `(${name} ${percent(path.path.at(-1)?.[path.prediction] ?? 0)})`
  const [feature] = path.features
  if (path.features.length !== 1 || feature === undefined) {
    return <>Clamping these {path.features.length} features to their {typical} changes it {probability}:</>
  }
  return (
    <>
      Clamping feature{' '}
      <Link href={href(feature)} className="text-ink underline" onPointerEnter={() => onLight(feature)} onPointerLeave={() => onLight(undefined)}>{feature}</Link> to{' '}
      {number(path.levels[0] ?? 0)}, its {typical}
      {(path.positions[0] ?? []).length > 0 && (
        <>
          , <Place positions={path.positions[0] ?? []} headline={headline} />
        </>
      )}
      , changes it {probability}.
    </>
  )
}

/** The activation that a feature is clamped to, and where. */
function Level({ level, positions, headline }: { level: number; positions: readonly number[]; headline: Headline }) {
  if (level === 0) return <span className="text-soft">ablated</span>
  return (
    <span className="text-soft">
      to {number(level)} <Place positions={positions} headline={headline} />
    </span>
  )
}

/** Where a feature is clamped: at a word, or wherever it fires. */
function Place({ positions, headline }: { positions: readonly number[]; headline: Headline }) {
  const word = positions.length === 1 ? wordAt(headline, positions, [1]) : ''
  if (positions.length === 0) return null
  return word === '' ? <>where it fires</> : <>at ‘<Word>{word}</Word>’</>
}
