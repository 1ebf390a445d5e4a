import { DropdownMenu } from 'radix-ui'
import type { ComponentProps, ReactNode } from 'react'
import { Icon } from './Icon'

export interface ChoiceOption {
  value: string
  label: string
  description?: string
  /** The heading under which the option stands in a long list. */
  group?: string | undefined
  /** A mark before the label. */
  mark?: ReactNode
}

/** A dropdown: its button shows the label and the chosen option, its list every option with a description. */
export function Choice({ label, value, options, onChoose }: {
  label: string
  value: string
  options: ChoiceOption[]
  onChoose: (value: string) => void
}) {
  return (
    <DropdownMenu.Root modal={false}>
      <DropdownMenu.Trigger asChild>
        <ChoiceButton label={label} chosen={options.find((option) => option.value === value)} value={value} />
      </DropdownMenu.Trigger>
      <DropdownMenu.Portal>
        <DropdownMenu.Content
          align="start"
          sideOffset={4}
          collisionPadding={8}
          className="z-40 max-h-(--radix-dropdown-menu-content-available-height) w-max max-w-[min(26rem,calc(100vw-1rem))] min-w-(--radix-dropdown-menu-trigger-width) overflow-y-auto rounded-md border border-edge bg-raised py-1"
        >
          <DropdownMenu.RadioGroup value={value} onValueChange={onChoose}>
            {options.map((option) => (
              <DropdownMenu.RadioItem
                key={option.value}
                value={option.value}
                className="relative cursor-pointer py-1.5 pr-4 pl-8 text-sm outline-none data-highlighted:bg-sunk"
              >
                <DropdownMenu.ItemIndicator className="absolute top-2 left-2.5">
                  <Icon name="check" size={14} />
                </DropdownMenu.ItemIndicator>
                <OptionText option={option} />
              </DropdownMenu.RadioItem>
            ))}
          </DropdownMenu.RadioGroup>
        </DropdownMenu.Content>
      </DropdownMenu.Portal>
    </DropdownMenu.Root>
  )
}

/** The button of a dropdown. `value` is shown where no option has it. */
export function ChoiceButton({ label, chosen, value, ...props }: { label: string; chosen: ChoiceOption | undefined; value: string } & ComponentProps<'button'>) {
  return (
    <button {...props} type="button" className="field flex items-center gap-2 px-2.5 text-left text-sm">
      <span className="text-faint">{label}</span>
      <span className="flex min-w-0 grow items-center gap-1.5">
        {chosen?.mark}
        <span className="min-w-0 truncate">{chosen ? (chosen.group ? `${chosen.group}: ${chosen.label}` : chosen.label) : value}</span>
      </span>
      <Icon name="down" size={14} className="text-faint" />
    </button>
  )
}

export function OptionText({ option: { mark, label, description } }: { option: ChoiceOption }) {
  return (
    <>
      <span className="flex items-center gap-1.5">
        {mark}
        <span className="min-w-0 wrap-anywhere">{label}</span>
      </span>
      {description && <span className="block text-xs text-soft">{description}</span>}
    </>
  )
}
