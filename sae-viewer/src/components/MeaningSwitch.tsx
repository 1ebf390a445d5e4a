import { SHARED } from '../base'
import { SEARCHES } from '../lib/address'

const NAMES = { words: 'by words', meaning: 'by meaning' } as const
const EXPLAINED = {
  words: 'Finds texts with these words.',
  meaning: 'Finds the 100 whose meaning is nearest to your phrase, whatever their words. The sentence encoder runs on this machine.',
} as const

type By = keyof typeof NAMES

/** Whether a search is for words or for meaning. A shared page searches words alone, and says so where it was asked for more. */
export function MeaningSwitch({ by, onBy }: { by: By; onBy: (by: By) => void }) {
  if (SHARED !== undefined) {
    return by === 'meaning' ? <p className="text-xs text-soft">Search by meaning needs the server; this page searches words.</p> : null
  }
  return (
    <div role="group" aria-label="How to search" className="flex gap-x-4 text-xs">
      {SEARCHES.map((one) => (
        <button
          key={one}
          type="button"
          aria-pressed={by === one}
          title={EXPLAINED[one]}
          onClick={() => onBy(one)}
          className="text-soft underline-offset-4 hover:text-ink aria-pressed:text-ink aria-pressed:underline"
        >
          {NAMES[one]}
        </button>
      ))}
    </div>
  )
}
