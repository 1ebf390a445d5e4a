import { Link } from 'wouter'
import { SHARED } from '../../base'
import { CopyLink } from '../../components/CopyLink'
import { HeatText } from '../../components/HeatText'
import { Icon } from '../../components/Icon'
import { Failure, Note } from '../../components/Notices'
import { SaveButtons } from '../../components/SaveButtons'
import { useLook, useLooks } from '../../hooks/useLooks'
import type { CardExample, CardSection, CardTable, FeatureCard, RunMetadata } from '../../interpAPI'
import { writeAddress, type FeaturesAddress } from '../../lib/address'
import { saveFile } from '../../lib/download'
import { withLook } from '../../lib/looks'
import { breakable, utf16Offsets, visible } from '../../lib/text'
import { useCard } from './useFeature'

/** A feature's card: what can be claimed of it, with the evidence, on one page to cite or to print. */
export function CardPage({ feature, address, run }: { feature: number; address: FeaturesAddress; run: RunMetadata }) {
  const looks = useLooks()
  const seen = { features: withLook(looks, 'features', String(feature)).features.length, headlines: looks.headlines.length }
  useLook('features', String(feature))
  const { data, error, refetch } = useCard(run.run_id, feature, seen)
  return (
    <div className="mx-auto max-w-[60rem] px-4 pt-4 pb-16 sm:px-6 print:max-w-none print:p-0">
      <p className="flex flex-wrap items-center gap-x-5 gap-y-2 print:hidden">
        <Link href={writeAddress({ ...address, card: false })} className="quiet mr-auto">
          <Icon name="left" size={14} /> Feature {feature}
        </Link>
        {data && <Ways card={data} address={address} run={run} />}
      </p>
      {SHARED !== undefined && <Note title="A card is made by the server; this page holds the run only." />}
      {error && !data && SHARED === undefined && <Failure error={error} retry={() => void refetch()} />}
      {!data && !error && <p role="status" aria-label="Loading the card" className="skeleton mt-6 h-96" />}
      {data && <Card card={data} />}
    </div>
  )
}

/** Ways to keep the card: a link, a file, paper. */
function Ways({ card, address, run }: { card: FeatureCard; address: FeaturesAddress; run: RunMetadata }) {
  const name = `${card.run_id}-feature-${card.feature}`
  return (
    <>
      <CopyLink address={address} run={run} className="button text-xs">
        Copy link
      </CopyLink>
      <button type="button" className="button text-xs" onClick={() => window.print()}>
        Print or save as PDF
      </button>
      <SaveButtons
        what="this card"
        ways={{
          HTML: () => saveFile(`${name}.html`, card.html, 'text/html'),
          LaTeX: () => saveFile(`${name}.tex`, card.latex, 'application/x-tex'),
        }}
      />
    </>
  )
}

function Card({ card }: { card: FeatureCard }) {
  return (
    // A letter under hundreds of marks cannot be broken, so what is too wide is cut.
    <article aria-label={`Card of feature ${card.feature}`} className="overflow-x-clip">
      <h1 className="mt-5 font-serif text-[1.75rem] leading-9 wrap-anywhere print:mt-0">
        <bdi>{visible(card.title)}</bdi>
      </h1>
      <p className="mt-1.5 leading-6 text-soft wrap-anywhere">{visible(card.summary)}</p>
      {card.sections.map((section) => (
        <Part key={section.title} section={section} />
      ))}
    </article>
  )
}

function Part({ section: { title, sentences, table, examples } }: { section: CardSection }) {
  return (
    <section aria-label={title} className="mt-7 break-inside-avoid-page">
      <h2 className="border-b border-line pb-1 font-serif text-lg">{title}</h2>
      {table && <Table table={table} title={title} />}
      {sentences.map((sentence) => (
        <p key={sentence} className="mt-1.5 max-w-[46rem] text-xs text-soft wrap-anywhere">
          {visible(sentence)}
        </p>
      ))}
      {examples.length > 0 && (
        <ul className="mt-1">
          {examples.map((example, i) => (
            <Example key={i} example={example} />
          ))}
        </ul>
      )}
    </section>
  )
}

function Table({ table: { header, rows }, title }: { table: CardTable; title: string }) {
  return (
    <div className="overflow-x-auto print:overflow-visible" tabIndex={0} role="group" aria-label={`Table: ${title}`}>
      <table className={`mt-1 text-sm tabular-nums ${header.length > 4 ? 'w-full' : ''}`}>
        <thead className="text-xs text-soft">
          <tr>
            {header.map((name, i) => (
              <th key={i} scope="col" className="py-1 pr-5 text-left font-normal whitespace-nowrap">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row, i) => (
            <tr key={i} className="border-t border-line align-baseline">
              {row.map((cell, j) => (
                <td key={j} className={`py-1 pr-5 ${header.length > 4 && j > 0 ? 'whitespace-nowrap' : 'max-w-[28rem] min-w-[4.75rem] wrap-anywhere'}`}>
                  <bdi>
                    {breakable(visible(cell)).map((piece, k) => (
                      <span key={k}>{piece}</span>
                    ))}
                  </bdi>
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}

function Example({ example }: { example: CardExample }) {
  const { text, stretches, note } = example
  // The heat is drawn as in a headline of which each stretch is a word.
  const prompt = {
    text,
    tokens: stretches.map(({ start, end }) => text.slice(utf16Offsets(text)(start), utf16Offsets(text)(end))),
    starts: stretches.map(({ start }) => start),
    ends: stretches.map(({ end }) => end),
    words: stretches.map((_, i) => i),
  }
  return (
    <li className="border-b border-line py-1.5">
      <p className="headline text-base">
        <HeatText
          prompt={prompt}
          grain="words"
          unread={false}
          heat={{ positions: stretches.map((_, i) => i), values: stretches.map(({ strength }) => strength), max: 1 }}
        />
      </p>
      <p className="text-xs text-soft wrap-anywhere">{visible(note)}</p>
    </li>
  )
}
