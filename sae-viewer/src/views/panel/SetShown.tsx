import { useState } from 'react'
import { Link } from 'wouter'
import { SHARED } from '../../base'
import { FeatureCalled } from '../../components/FeatureName'
import { WithCommands } from '../../components/Notices'
import { OnBench } from '../../components/OnBench'
import { changeSets } from '../../hooks/useLabels'
import type { RunMetadata, SetAnswer, SetInMember } from '../../interpAPI'
import { FEATURES, writeAddress, type Address } from '../../lib/address'
import { count, counted, number } from '../../lib/format'
import { NOTE_LENGTH } from '../../lib/labels'
import { foundThere, SET_NAME_LENGTH, setName, without, withNew, withText, type Sets } from '../../lib/sets'
import { visible } from '../../lib/text'
import { CELL, HEAD } from './Section'
import { useSet } from './useSet'

/** Features that are listed; the list of features has all. */
const LISTED = 100

/** A set: its note, what may be done with it, and its features with their counterparts in other SAEs. */
export function SetShown({ name, run, address, onName }: {
  name: string
  run: RunMetadata
  address: Address
  /** Tells the name of the set that is open from now on; undefined: none is. */
  onName: (name: string | undefined) => void
}) {
  const { data, error } = useSet(run, name)
  const [failed, setFailed] = useState('')
  const [said, setSaid] = useState('')
  /** Makes a change of the sets of an SAE, and says how it ended. */
  const change = async (sae: Pick<RunMetadata, 'run_id' | 'sae_hash'>, what: (now: Sets) => Sets, done: string, next?: () => void) => {
    setFailed('')
    setSaid('')
    try {
      await changeSets(sae, what)
      setSaid(done)
      next?.()
    } catch (problem) {
      setFailed(problem instanceof Error ? problem.message : 'The change was not saved.')
    }
  }
  if (error) return <p className="pb-3 text-wrong">{error.message}</p>
  if (data === undefined) return <span className="skeleton mb-3 block h-24" />
  if (data === null) return <p className="pb-3 text-soft">The set was deleted or renamed elsewhere.</p>
  return (
    <div className="space-y-3 pt-1 pb-5">
      {data.note && <bdi className="block max-w-[56rem] whitespace-pre-line text-soft wrap-anywhere">{visible(data.note)}</bdi>}
      <Actions
        key={name}
        one={data}
        run={run}
        address={address}
        onText={(text, note) => void change(run, (now) => withText(now, name, text, note), 'Saved.', () => onName(text))}
        onDelete={() => void change(run, (now) => without(now, name), '', () => onName(undefined))}
      />
      <p role="status" className="text-xs text-soft empty:hidden">{said}</p>
      {failed && <p role="alert" className="text-xs text-wrong">{failed}</p>}
      <Members
        one={data}
        run={run}
        onCopy={({ run_id, sae_hash }, member) =>
          void change({ run_id, sae_hash }, (now) => withNew(now, name, foundThere(member), data.note), `${run_id} has the set now, with ${counted(foundThere(member).length, 'feature')}.`)
        }
      />
      <Features one={data} address={address} />
    </div>
  )
}

/** Links to bench and list, and buttons that rename and delete. */
function Actions({ one, run, address, onText, onDelete }: {
  one: SetAnswer
  run: RunMetadata
  address: Address
  onText: (name: string, note: string) => void
  onDelete: () => void
}) {
  const [asks, setAsks] = useState<'text' | 'delete'>()
  const [name, setWritten] = useState(one.name)
  const [note, setNote] = useState(one.note)
  return (
    <>
      <p className="flex flex-wrap items-baseline gap-x-4 gap-y-1.5 text-sm">
        <OnBench run={run.run_id} features={one.features.map(({ feature }) => feature)} address={address} />
        <Link className="quiet" href={writeAddress({ ...FEATURES, run: address.run, set: one.name })}>Show in the list of features</Link>
        {SHARED === undefined && (
          <>
            <button type="button" className="quiet" aria-expanded={asks === 'text'} onClick={() => setAsks(asks === 'text' ? undefined : 'text')}>
              Name and note
            </button>
            {asks === 'delete' ? (
              <>
                <button type="button" className="quiet text-wrong!" onClick={onDelete}>Delete this set</button>
                <button type="button" className="quiet" onClick={() => setAsks(undefined)}>Keep it</button>
              </>
            ) : (
              <button type="button" className="quiet" onClick={() => setAsks('delete')}>Delete</button>
            )}
          </>
        )}
      </p>
      {asks === 'text' && (
        <form
          aria-label="Name and note of the set"
          className="max-w-[38rem] space-y-2"
          onSubmit={(event) => {
            event.preventDefault()
            setAsks(undefined)
            onText(setName(name), note)
          }}
        >
          <input aria-label="Name of the set" value={name} maxLength={SET_NAME_LENGTH} autoComplete="off" onChange={(event) => setWritten(event.target.value)} className="field px-2.5" />
          <textarea
            aria-label="Note on the set"
            placeholder="What the features have in common, and what speaks against it"
            value={note}
            maxLength={NOTE_LENGTH}
            rows={3}
            onChange={(event) => setNote(event.target.value)}
            className="field block h-auto w-full px-2.5 py-1.5"
          />
          <button type="submit" className="button !min-h-8">Save</button>
        </form>
      )}
    </>
  )
}

/** In which other SAEs the set is found. */
function Members({ one, run, onCopy }: {
  one: SetAnswer
  run: RunMetadata
  onCopy: (to: { run_id: string; sae_hash: string }, member: SetInMember) => void
}) {
  if (one.members.length === 0) {
    if (SHARED !== undefined) return null
    return (
      <p className="text-xs text-soft">
        <WithCommands>{`Run \`python -m sae_pipeline family --run ${run.run_id}\` to see in which other sizes and seeds these features are found.`}</WithCommands>
      </p>
    )
  }
  return (
    <ul aria-label="Found in other SAEs" className="flex flex-wrap gap-x-8 gap-y-1.5 text-sm">
      {one.members.map((member) => (
        <li key={member.sae_hash} className="flex flex-wrap items-baseline gap-x-3">
          <span>
            {visible(member.size)}, seed {member.seed}: <span className="font-semibold tabular-nums">{count(member.n_found)} of {count(one.features.length)} found</span>
          </span>
          {member.run_id !== null && member.run_id !== run.run_id && member.n_found > 0 && SHARED === undefined && (
            <button type="button" className="quiet text-xs" onClick={() => onCopy({ run_id: member.run_id ?? '', sae_hash: member.sae_hash }, member)}>
              Copy the set there
            </button>
          )}
        </li>
      ))}
    </ul>
  )
}

/** The features of a set, each with the nearest feature of every other SAE. */
function Features({ one, address }: { one: SetAnswer; address: Address }) {
  return (
    <>
      <div role="region" aria-label="Features of the set" tabIndex={0} className="overflow-x-auto">
        <table className="w-full">
          <thead>
            <tr>
              <th scope="col" className={`${HEAD} pl-0! text-left!`}>feature</th>
              <th scope="col" className={HEAD}>headlines</th>
              {one.members.map(({ sae_hash, size, seed }) => (
                <th key={sae_hash} scope="col" className={HEAD} title="The feature of that SAE with the nearest decoder row, and the cosine">
                  {visible(size)}, seed {seed}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {one.features.slice(0, LISTED).map(({ feature, found_name, word, n_headlines }, row) => (
              <tr key={feature} className="border-t border-line">
                <th scope="row" className="max-w-48 min-w-36 py-1 text-left font-normal sm:max-w-72">
                  <Link href={writeAddress({ ...FEATURES, run: address.run, feature })} className="flex min-w-0 items-baseline gap-1.5 hover:underline">
                    <span className="text-soft tabular-nums">{feature}</span>
                    <FeatureCalled feature={feature} found={found_name} word={word} />
                  </Link>
                </th>
                <td className={CELL}>{count(n_headlines)}</td>
                {one.members.map((member) => (
                  <Counterpart key={member.sae_hash} member={member} row={row} />
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <p className="text-xs text-soft">
        {one.features.length > LISTED && `The first ${count(LISTED)} of ${counted(one.features.length, 'feature')} are listed. `}
        {one.members.length > 0 && 'Of each other SAE, the feature with the nearest decoder row and the cosine. Those below 0.7 are not found there, and are pale.'}
      </p>
    </>
  )
}

function Counterpart({ member: { run_id, feature, cosine, found }, row }: { member: SetInMember; row: number }) {
  const there = feature[row] ?? 0
  const shown = `${there} (${number(cosine[row] ?? 0)})`
  return (
    <td className={`${CELL} ${found[row] ? '' : 'text-faint'}`}>
      {run_id === null ? shown : <Link href={writeAddress({ ...FEATURES, run: run_id, feature: there })} className="hover:underline">{shown}</Link>}
    </td>
  )
}
