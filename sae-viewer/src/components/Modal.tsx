import { useEffect, useRef, type ReactNode } from 'react'
import { Icon } from './Icon'

const PANEL = 'min-h-[calc(100dvh-2rem)] max-w-[68rem]'

/** The browser's own dialog. It keeps the focus; Escape and a click outside close it. */
export function Modal({ title, onClose, children, wide = false }: {
  title: string
  onClose: () => void
  children: ReactNode
  /** `panel` keeps its height when its content changes. */
  wide?: boolean | 'widest' | 'panel'
}) {
  const dialog = useRef<HTMLDialogElement>(null)
  useEffect(() => {
    if (!dialog.current?.open) dialog.current?.showModal()
  }, [])
  return (
    <dialog
      ref={dialog}
      aria-label={title}
      onClose={onClose}
      onPointerDown={(event) => {
        if (event.target === event.currentTarget) onClose()
      }}
      className={`m-auto max-h-[calc(100dvh-2rem)] w-[calc(100vw-2rem)] overflow-y-auto rounded-lg border border-edge bg-paper text-ink backdrop:bg-black/40 ${
        wide === 'panel' ? PANEL : wide === 'widest' ? 'max-w-[88rem]' : wide ? 'max-w-[58rem]' : 'max-w-[30rem]'
      }`}
    >
      <div className="p-5 sm:p-7">
        <header className="mb-4 flex items-baseline justify-between gap-4">
          <h2 className="font-serif text-xl">{title}</h2>
          <button type="button" aria-label="Close" onClick={onClose} className="-m-1.5 rounded p-1.5 text-soft hover:text-ink">
            <Icon name="cross" />
          </button>
        </header>
        {children}
      </div>
    </dialog>
  )
}
