import { useEffect, useRef } from 'react'
import { useDebounced } from '../hooks/useDebounced'
import { useKeys } from '../hooks/useKeys'
import { Icon, type IconName } from './Icon'

/** A search field that reports while the reader types. `/` focuses it, Escape empties it, the down arrow leaves it. */
export function SearchBox({ value, label, placeholder, icon = 'search', shortcut = true, onSearch, onEnter, onLeave }: {
  value: string
  label: string
  placeholder: string
  icon?: IconName
  /** Whether `/` focuses this field; true for one field of a page. */
  shortcut?: boolean
  onSearch: (text: string) => void
  onEnter?: (text: string) => void
  onLeave: () => void
}) {
  const input = useRef<HTMLInputElement>(null)
  const { draft, type, commit } = useDebounced(value, onSearch)
  useKeys(shortcut ? { '/': () => input.current?.focus() } : {})
  useEffect(() => {
    if (document.activeElement !== input.current) return
    input.current?.select()
  }, [])
  return (
    <div className="relative">
      <Icon name={icon} className="pointer-events-none absolute top-1/2 left-2.5 -translate-y-1/2 text-faint" />
      <input
        ref={input}
        type="search"
        aria-label={label}
        aria-keyshortcuts={shortcut ? '/' : undefined}
        placeholder={placeholder}
        maxLength={200}
        spellCheck={false}
        autoComplete="off"
        value={draft}
        onChange={(event) => type(event.target.value)}
        onKeyDown={(event) => {
          if (event.key === 'Enter') {
            commit(draft)
            onEnter?.(draft)
          }
          if (event.key === 'Escape') {
            if (draft) commit('')
            else input.current?.blur()
          }
          if (event.key === 'ArrowDown') {
            event.preventDefault()
            onLeave()
          }
        }}
        className="field pr-8 pl-8.5 text-sm [&::-webkit-search-cancel-button]:hidden"
      />
      {draft ? (
        <button
          type="button"
          aria-label="Clear the search"
          onClick={() => {
            commit('')
            input.current?.focus()
          }}
          className="absolute top-1/2 right-1.5 -translate-y-1/2 rounded p-1 text-faint hover:text-ink"
        >
          <Icon name="cross" size={14} />
        </button>
      ) : shortcut ? (
        <kbd aria-hidden="true" className="key absolute top-1/2 right-2 hidden -translate-y-1/2 lg:block">
          /
        </kbd>
      ) : null}
    </div>
  )
}
