import { FOUND, timesFound, type Stability } from '../lib/stability'

/** In how many trainings with other seeds a feature is found: "2/3 seeds", where there is `room` for the word on a narrow screen. */
export function SeedBadge({ found, stability, room = false }: { found: number; stability: Stability; room?: boolean }) {
  const n = stability.seeds.length
  const said = `Found in ${timesFound(found, stability)}`
  return (
    <span
      title={`${said}. ${FOUND}`}
      className={`inline-block shrink-0 rounded border px-1 text-[0.6875rem] leading-4 whitespace-nowrap tabular-nums ${found === n ? 'border-plum text-plum' : found === 0 ? 'border-dashed border-edge text-faint' : 'border-edge text-soft'}`}
    >
      <span aria-hidden="true">
        {found}/{n}
        <span className={room ? '' : 'max-sm:hidden'}> seeds</span>
      </span>
      <span className="sr-only">{said}</span>
    </span>
  )
}
