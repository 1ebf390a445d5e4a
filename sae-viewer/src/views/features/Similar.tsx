import { Link } from 'wouter'
import { FeatureCalled } from '../../components/FeatureName'
import type { FamilyMatch, FeatureInfo, SimilarFeature } from '../../interpAPI'
import { FEATURES, writeAddress, type FeaturesAddress } from '../../lib/address'
import { number } from '../../lib/format'
import { FamilyTree } from './FamilyTree'
import { Bar } from './Interval'
import { Reading, Section } from './Section'

/** Similar features, in this SAE and in the other SAEs of its family. */
export function Similar({ info, size, address }: { info: FeatureInfo; size: string; address: FeaturesAddress }) {
  const { similar_decoder: decoder, similar_cofiring: cofiring, family } = info
  if (decoder.length + cofiring.length + family.length === 0) return null
  return (
    <Section id="similar" title="Similar features">
      <div className={`grid grid-cols-1 gap-x-10 gap-y-6 pt-3 sm:grid-cols-2 ${family.length > 0 ? 'xl:grid-cols-3' : ''}`}>
        <Neighbours title="by direction" measure="cosine" features={decoder} address={address}>
          Cosine of the two decoder rows: 1 means that both point in the same direction.
        </Neighbours>
        <Neighbours title="by firing" measure="Jaccard" features={cofiring} address={address}>
          The share of headlines in which both fire, among those in which either fires.
        </Neighbours>
        <Family family={family} />
      </div>
      <FamilyTree info={info} size={size} address={address} />
    </Section>
  )
}

function Neighbours({ title, measure, features, address, children }: {
  title: string
  measure: string
  features: SimilarFeature[]
  address: FeaturesAddress
  children: string
}) {
  if (features.length === 0) return null
  return (
    <section aria-label={`Similar ${title}`} className="min-w-0">
      <h3 className="eyebrow flex justify-between pb-1">
        {title} <span className="font-normal">{measure}</span>
      </h3>
      <ol>
        {features.map(({ feature, found_name, word, similarity }) => (
          <li key={feature} className="border-t border-line">
            <Link
              href={writeAddress({ ...FEATURES, run: address.run, metric: address.metric, feature })}
              className="grid grid-cols-[minmax(0,1fr)_5rem_3rem] items-center gap-x-3 py-1 text-xs hover:bg-sunk"
            >
              <span className="flex min-w-0 gap-2">
                <span className="text-soft tabular-nums">{feature}</span>
                <FeatureCalled feature={feature} found={found_name} word={word} />
              </span>
              <Bar share={similarity} />
              <span className="text-right tabular-nums">{number(similarity)}</span>
            </Link>
          </li>
        ))}
      </ol>
      <Reading>{children}</Reading>
    </section>
  )
}

const VERDICTS = { match: 'matched', split: 'split', absent: 'absent' } as const

function Family({ family }: { family: FamilyMatch[] }) {
  if (family.length === 0) return null
  return (
    <section aria-label="In other SAEs" className="min-w-0">
      <h3 className="eyebrow flex justify-between pb-1">
        in other SAEs <span className="font-normal">cosine · Jaccard</span>
      </h3>
      <ol>
        {family.map((match) => (
          <li key={match.sae_hash} className="grid grid-cols-[2.5rem_4.5rem_minmax(0,1fr)_auto] items-center gap-x-3 border-t border-line py-1 text-xs">
            <span>{match.size}</span>
            <span className="text-soft">{VERDICTS[match.verdict]}</span>
            <Counterpart match={match} />
            <span className="text-right tabular-nums">
              {match.cosine === null ? '–' : number(match.cosine)} · {match.coactivation === null ? '–' : number(match.coactivation)}
            </span>
          </li>
        ))}
      </ol>
      <Reading>
        These are the nearest features in other SAEs that were trained on the same activations. The first number is the cosine of the two decoder
        rows. The second is the share of tokens on which both fire, among those on which either fires (Jaccard).
      </Reading>
    </section>
  )
}

function Counterpart({ match: { feature, run_id } }: { match: FamilyMatch }) {
  if (feature === null) return <span />
  if (run_id === null) return <span className="tabular-nums" title="There is no run of this SAE to open">{feature}</span>
  return (
    <Link className="quiet tabular-nums" href={writeAddress({ ...FEATURES, run: run_id, feature })} title={`Feature ${feature} of ${run_id}`}>
      {feature}
    </Link>
  )
}
