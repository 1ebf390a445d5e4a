import type { ReactNode } from 'react'

/** A titled part of a feature's page. Its `id` is the target of the links at the top of the page. */
export function Section({ id, title, aside, children, className = '' }: {
  id: string
  title: string
  /** Controls or a legend beside the title. */
  aside?: ReactNode
  children: ReactNode
  className?: string
}) {
  return (
    <section id={id} aria-label={title} className={`min-w-0 scroll-mt-16 ${className}`}>
      <div className="flex flex-wrap items-center justify-between gap-x-6 gap-y-2 border-b border-line pb-2">
        <h2 className="font-serif text-lg">{title}</h2>
        {aside}
      </div>
      {children}
    </section>
  )
}

/** A note on how to read the section. */
export function Reading({ children }: { children: ReactNode }) {
  return <p className="mt-2 max-w-[44rem] text-xs text-soft">{children}</p>
}
