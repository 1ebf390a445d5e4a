import { Popover } from 'radix-ui'
import { useEffect, useId, useRef, useState } from 'react'
import { ChoiceButton, OptionText, type ChoiceOption } from './Choice'
import { Icon } from './Icon'

/** A dropdown with a search field, for lists that are too long to read. Its options stand in their groups. */
export function SearchChoice({ label, value, options, onChoose }: {
  label: string
  value: string
  options: ChoiceOption[]
  onChoose: (value: string) => void
}) {
  const [open, setOpen] = useState(false)
  return (
    <Popover.Root open={open} onOpenChange={setOpen}>
      <Popover.Trigger asChild>
        <ChoiceButton label={label} chosen={options.find((option) => option.value === value)} value={value} />
      </Popover.Trigger>
      <Popover.Portal>
        <Popover.Content
          align="start"
          sideOffset={4}
          collisionPadding={8}
          aria-label={label}
          className="z-40 flex max-h-[min(28rem,var(--radix-popover-content-available-height))] w-[max(var(--radix-popover-trigger-width),18rem)] max-w-[calc(100vw-1rem)] flex-col rounded-md border border-edge bg-raised"
        >
          <Options
            label={label}
            value={value}
            options={options}
            onChoose={(chosen) => {
              setOpen(false)
              onChoose(chosen)
            }}
          />
        </Popover.Content>
      </Popover.Portal>
    </Popover.Root>
  )
}

/** The search field, which keeps the focus, and the options that match it. */
function Options({ label, value, options, onChoose }: {
  label: string
  value: string
  options: ChoiceOption[]
  onChoose: (value: string) => void
}) {
  const id = useId()
  const [wanted, setWanted] = useState('')
  const found = options.filter((option) => matches(option, wanted))
  const [at, setAt] = useState(() => Math.max(0, options.findIndex((option) => option.value === value)))
  const list = useRef<HTMLDivElement>(null)
  useEffect(() => {
    list.current?.querySelector('[data-at]')?.scrollIntoView({ block: 'nearest' })
  }, [at, wanted])
  const groups = [...new Set(found.map(({ group }) => group))]
  const move = (to: number) => setAt(Math.min(Math.max(to, 0), found.length - 1))
  const moves: Record<string, () => void> = {
    ArrowDown: () => move(at + 1),
    ArrowUp: () => move(at - 1),
    PageDown: () => move(at + 10),
    PageUp: () => move(at - 10),
    Enter: () => {
      const chosen = found[at]
      if (chosen) onChoose(chosen.value)
    },
  }
  return (
    <>
      <div className="relative shrink-0 border-b border-line">
        <Icon name="search" size={14} className="pointer-events-none absolute top-1/2 left-2.5 -translate-y-1/2 text-faint" />
        <input
          type="text"
          role="combobox"
          aria-expanded
          aria-controls={`${id}-list`}
          aria-activedescendant={found[at] ? `${id}-${at}` : undefined}
          aria-label={`Search: ${label}`}
          placeholder={`Search ${options.length}`}
          maxLength={200}
          spellCheck={false}
          autoComplete="off"
          value={wanted}
          onChange={(event) => {
            setWanted(event.target.value)
            setAt(0)
          }}
          onKeyDown={(event) => {
            const act = moves[event.key]
            if (!act) return
            event.preventDefault()
            act()
          }}
          className="h-9 w-full bg-transparent pr-2 pl-8 text-sm outline-offset-[-2px]"
        />
      </div>
      <div ref={list} id={`${id}-list`} role="listbox" aria-label={label} className="overflow-y-auto py-1">
        {found.length === 0 && <p className="px-3 py-1.5 text-sm text-soft">Nothing here contains “{wanted}”.</p>}
        {groups.map((group) => (
          <div key={group ?? ''} role={group ? 'group' : 'presentation'} aria-label={group}>
            {group && <p aria-hidden="true" className="eyebrow px-3 pt-2 pb-0.5">{group}</p>}
            {found.map((option, i) =>
              option.group === group ? (
                <div
                  key={option.value}
                  id={`${id}-${i}`}
                  role="option"
                  aria-selected={option.value === value}
                  data-at={i === at || undefined}
                  onPointerMove={() => setAt(i)}
                  onClick={() => onChoose(option.value)}
                  className="relative cursor-pointer py-1.5 pr-4 pl-8 text-sm data-at:bg-sunk"
                >
                  {option.value === value && <Icon name="check" size={14} className="absolute top-2 left-2.5" />}
                  <OptionText option={option} />
                </div>
              ) : null,
            )}
          </div>
        ))}
      </div>
    </>
  )
}

/** Whether an option's group and label together contain every word that is searched for. */
function matches({ group = '', label }: ChoiceOption, wanted: string): boolean {
  const text = `${group} ${label}`.toLowerCase()
  return wanted.toLowerCase().split(/\s+/).every((word) => text.includes(word))
}
