import type { ReactNode } from 'react'

/** A titled part of the panel. */
export function Section({ title, aside, children, className = '' }: {
  title: string
  aside?: ReactNode
  children: ReactNode
  className?: string
}) {
  return (
    <section className={`min-w-0 ${className}`}>
      <header className="mb-2 flex items-baseline justify-between gap-4 border-b border-line pb-1.5">
        <h3 className="eyebrow">{title}</h3>
        {aside}
      </header>
      {children}
    </section>
  )
}

export const HEAD = 'py-1 pl-2 sm:pl-3 text-right text-xs font-normal whitespace-nowrap text-soft'
export const CELL = 'py-1 pl-2 max-sm:text-xs sm:pl-3 text-right whitespace-nowrap tabular-nums'

export function Strong({ children }: { children: ReactNode }) {
  return <strong className="font-semibold tabular-nums">{children}</strong>
}
