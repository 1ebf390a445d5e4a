import type { ReactNode } from 'react'
import { SHARED } from '../base'
import { START_COMMAND, type ApiError } from '../interpAPI'
import { visible } from '../lib/text'
import { Icon } from './Icon'

/** The content of a view that has nothing to show: what happened and what to do. */
export function Note({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="mx-auto max-w-[38rem] px-4 py-16 text-center">
      <p className="font-serif text-xl leading-7">{visible(title)}</p>
      {children && <div className="mt-3 space-y-3 leading-6 text-soft">{children}</div>}
    </div>
  )
}

/** An error, shown instead of what it prevented. */
export function Failure({ error, retry, clear }: {
  error: ApiError
  retry?: () => void
  /** Takes the filters away, which a refused request may be about. */
  clear?: (() => void) | undefined
}) {
  if (error.kind === 'down') {
    return (
      <Note title={error.message}>
        <StartHint />
      </Note>
    )
  }
  return (
    <Note title={error.message}>
      {error.passes && <p>This page tries again every two seconds.</p>}
      {retry && error.passes && (
        <button type="button" className="button" onClick={retry}>
          Try again
        </button>
      )}
      {clear && !error.passes && (
        <p>
          <button type="button" className="button" onClick={clear}>
            Clear all filters
          </button>
        </p>
      )}
    </Note>
  )
}

/** How to start the API. */
function StartHint() {
  if (SHARED !== undefined) return <p>Check the connection. This page tries again every two seconds.</p>
  return (
    <>
      <p>Start it from the project’s folder. This page continues by itself as soon as the API answers.</p>
      <p>
        <code className="inline-block rounded bg-sunk px-2.5 py-1.5 text-left font-mono text-[0.8125rem] leading-5 text-ink">
          {START_COMMAND}
        </code>
      </p>
    </>
  )
}

/** One sentence above a view that otherwise works. */
export function Notice({ children, tone = 'plain' }: { children: ReactNode; tone?: 'plain' | 'wrong' }) {
  return (
    <p className="flex items-start gap-2.5 border-b border-line py-2.5 leading-6">
      <Icon name={tone === 'wrong' ? 'alert' : 'info'} className={`mt-1 ${tone === 'wrong' ? 'text-wrong' : 'text-faint'}`} />
      <span>{children}</span>
    </p>
  )
}

/** A sentence of the API. What stands between backticks in it, a command, is set as code. */
export function WithCommands({ children }: { children: string }) {
  return children.split('`').map((part, i) =>
    i % 2 ? (
      <code key={i} className="rounded bg-sunk box-decoration-clone px-1.5 py-0.5 font-mono text-[0.8125rem]">
        {part}
      </code>
    ) : (
      part
    ),
  )
}
