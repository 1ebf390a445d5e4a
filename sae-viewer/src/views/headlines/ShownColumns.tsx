import { DropdownMenu } from 'radix-ui'
import { Icon } from '../../components/Icon'
import type { Cell } from '../../interpAPI'
import { MOST_SHOWN } from '../../lib/address'
import { cellText } from '../../lib/columns'
import { visible } from '../../lib/text'

/** A menu of the table's columns, some of which each row shows. */
export function ShownColumns({ columns, shown, onShown }: {
  columns: readonly string[]
  shown: readonly string[]
  onShown: (shown: string[]) => void
}) {
  return (
    <DropdownMenu.Root modal={false}>
      <DropdownMenu.Trigger asChild>
        <button type="button" className="quiet">
          Columns{shown.length > 0 && ` (${shown.length})`} <Icon name="down" size={12} />
        </button>
      </DropdownMenu.Trigger>
      <DropdownMenu.Portal>
        <DropdownMenu.Content
          align="end"
          sideOffset={4}
          collisionPadding={8}
          className="z-40 max-h-[min(24rem,var(--radix-dropdown-menu-content-available-height))] max-w-[min(20rem,calc(100vw-1rem))] overflow-y-auto rounded-md border border-edge bg-raised py-1"
        >
          {columns.map((name) => (
            <DropdownMenu.CheckboxItem
              key={name}
              checked={shown.includes(name)}
              disabled={!shown.includes(name) && shown.length >= MOST_SHOWN}
              onCheckedChange={(on) => onShown(on ? [...shown, name] : shown.filter((one) => one !== name))}
              onSelect={(event) => event.preventDefault()}
              className="relative cursor-pointer truncate py-1.5 pr-4 pl-8 text-sm outline-none data-disabled:cursor-default data-disabled:text-faint data-highlighted:bg-sunk"
            >
              <DropdownMenu.ItemIndicator className="absolute top-2 left-2.5">
                <Icon name="check" size={14} />
              </DropdownMenu.ItemIndicator>
              <bdi>{visible(name)}</bdi>
            </DropdownMenu.CheckboxItem>
          ))}
        </DropdownMenu.Content>
      </DropdownMenu.Portal>
    </DropdownMenu.Root>
  )
}

/** Cells of a headline: in one line, or one below the other in an open row. */
export function Cells({ cells, names, inLine = false }: { cells: Readonly<Record<string, Cell>>; names: readonly string[]; inLine?: boolean }) {
  const known = names.filter((name) => Object.hasOwn(cells, name))
  if (known.length === 0) return null
  return (
    <div role="group" aria-label="Columns of the table" tabIndex={inLine ? undefined : 0} className={inLine ? 'mt-1' : 'mt-3 max-h-60 overflow-y-auto'}>
      <dl className={inLine ? 'flex flex-wrap gap-x-4 text-xs text-soft' : 'grid grid-cols-[minmax(4rem,auto)_minmax(0,1fr)] gap-x-4 gap-y-0.5 text-xs'}>
        {known.map((name) => (
          <div key={name} className={inLine ? 'flex max-w-full min-w-0 gap-1.5' : 'contents'}>
            <dt className="max-w-40 truncate text-faint" title={visible(name).slice(0, 200)}>
              <bdi>{visible(name)}</bdi>
            </dt>
            <dd className={inLine ? 'max-w-60 truncate' : 'line-clamp-3 wrap-anywhere'} title={cellText(cells[name]).slice(0, 1_000)}>
              <bdi>{cellText(cells[name])}</bdi>
            </dd>
          </div>
        ))}
      </dl>
    </div>
  )
}
