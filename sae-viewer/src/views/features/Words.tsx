import { Link } from 'wouter'
import { Word } from '../../components/HeatText'
import type { FiredWord } from '../../interpAPI'
import { FEATURES, writeAddress, type FeaturesAddress } from '../../lib/address'
import { count, number } from '../../lib/format'
import { Bar } from './Interval'
import { Reading, Section } from './Section'

/** The words on which a feature fires most, each linked to all features that fire on it. */
export function Words({ words, address }: { words: FiredWord[]; address: FeaturesAddress }) {
  if (words.length === 0) return null
  return (
    <Section id="words" title="Words it fires on">
      <table className="w-full text-xs">
        <thead className="text-soft">
          <tr>
            <th scope="col" className="py-1.5 text-left font-normal">word</th>
            <th scope="col" className="py-1.5 pl-3 text-right font-normal">fires on</th>
            <th scope="col" className="w-[32%] py-1.5 pl-3"><span className="sr-only">share</span></th>
            <th scope="col" className="py-1.5 pl-3 text-right font-normal">lift</th>
          </tr>
        </thead>
        <tbody>
          {words.map(({ word, count: fired, total, lift }) => (
            <tr key={word} className="border-t border-line">
              <th scope="row" className="max-w-40 truncate py-1 text-left text-sm font-normal">
                <Link
                  href={writeAddress({ ...FEATURES, run: address.run, token: word })}
                  title={`Features that fire on “${word}”`}
                  className="decoration-edge underline-offset-4 hover:underline"
                >
                  <Word>{word}</Word>
                </Link>
              </th>
              <td className="py-1 pl-3 text-right whitespace-nowrap tabular-nums">
                {count(fired)} <span className="text-faint">of {count(total)}</span>
              </td>
              <td className="py-1 pl-3"><Bar share={total > 0 ? fired / total : 0} /></td>
              <td className="py-1 pl-3 text-right whitespace-nowrap tabular-nums">× {number(lift)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <Reading>Lift is how many times more often the feature fires on this word than on words in general. The bar is the share of the word’s occurrences on which it fires.</Reading>
    </Section>
  )
}
