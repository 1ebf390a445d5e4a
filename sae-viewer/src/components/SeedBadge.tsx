import { FOUND, timesFound, type Stability } from '../lib/stability'

/** In how many trainings with other seeds a feature is found: "2/3", with the words for those who hover or listen. */
export function SeedBadge({ found, stability }: { found: number; stability: Stability }) {
  const n = stability.seeds.length
  const said = `Found in ${timesFound(found, stability)}`
  return (
    <span
      title={`${said}. ${FOUND}`}
      className={`shrink-0 rounded border px-1 text-[0.6875rem] leading-4 tabular-nums ${found === n ? 'border-plum text-plum' : found === 0 ? 'border-dashed border-edge text-faint' : 'border-edge text-soft'}`}
    >
      <span aria-hidden="true">
        {found}/{n}
        <span className="max-sm:hidden"> seeds</span>
      </span>
      <span className="sr-only">{said}</span>
    </span>
  )
}
