import type { ReactNode } from 'react'
import { START_COMMAND, type ApiError } from '../interpAPI'
import { Icon } from './Icon'

/** What stands in a view's place when it has nothing to show: what happened, and what to do. */
export function Note({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="mx-auto max-w-[38rem] px-4 py-16 text-center">
      <p className="font-serif text-xl leading-7">{title}</p>
      {children && <div className="mt-3 space-y-3 leading-6 text-soft">{children}</div>}
    </div>
  )
}

/** An error in the place of what it prevented. */
export function Failure({ error, retry }: { error: ApiError; retry?: () => void }) {
  if (error.kind === 'down') {
    return (
      <Note title={error.message}>
        <StartHint />
      </Note>
    )
  }
  return (
    <Note title={error.message}>
      {error.passes && <p>This page asks again every two seconds.</p>}
      {retry && error.passes && (
        <button type="button" className="button" onClick={retry}>
          Ask again
        </button>
      )}
    </Note>
  )
}

/** How to start the API. */
export function StartHint() {
  return (
    <>
      <p>Start it from the project’s folder; this page goes on by itself as soon as it is there.</p>
      <p>
        <code className="inline-block rounded bg-sunk px-2.5 py-1.5 text-left font-mono text-[0.8125rem] leading-5 text-ink">
          {START_COMMAND}
        </code>
      </p>
    </>
  )
}

/** One sentence above a view that is otherwise alive. */
export function Notice({ children, tone = 'plain' }: { children: ReactNode; tone?: 'plain' | 'wrong' }) {
  return (
    <p className="flex items-start gap-2.5 border-b border-line py-2.5 leading-6">
      <Icon name={tone === 'wrong' ? 'alert' : 'info'} className={`mt-1 ${tone === 'wrong' ? 'text-wrong' : 'text-faint'}`} />
      <span>{children}</span>
    </p>
  )
}
