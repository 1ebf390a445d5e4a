import { visible } from '../lib/text'
import { Icon } from './Icon'

export interface FilterChip {
  name: string
  remove: () => void
}

/** The active filters, each with a button that removes it. */
export function FilterChips({ chips, onClear }: { chips: FilterChip[]; onClear: () => void }) {
  if (chips.length === 0) return null
  return (
    <ul aria-label="Active filters" className="flex min-w-0 flex-wrap items-center gap-x-2 gap-y-1">
      {chips.map(({ name, remove }) => (
        <li key={name} className="min-w-0">
          <button
            type="button"
            aria-label={`Remove the filter ${name}`}
            onClick={remove}
            className="inline-flex max-w-full items-center gap-1 rounded-[5px] bg-sunk py-0.5 pr-1.5 pl-2 text-xs hover:text-wrong"
          >
            <bdi className="truncate">{visible(name)}</bdi>
            <Icon name="cross" size={12} className="text-faint" />
          </button>
        </li>
      ))}
      {chips.length > 1 && (
        <li>
          <button type="button" className="quiet text-xs" onClick={onClear}>
            Clear all
          </button>
        </li>
      )}
    </ul>
  )
}
