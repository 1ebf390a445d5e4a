import { useEffect, useState, type ReactNode } from 'react'
import { wholeAddress } from '../base'
import type { RunMetadata } from '../interpAPI'
import { writeAddress, type Address } from '../lib/address'
import { Icon } from './Icon'

/** Copies the address with the run in it, so that the link shows the same when another run is served. */
export function CopyLink({ address, run, className, children }: {
  address: Address
  run: RunMetadata
  className: string
  /** A name beside the icon. */
  children?: ReactNode
}) {
  const [copied, setCopied] = useState<boolean>()
  useEffect(() => {
    if (copied === undefined) return
    const timer = setTimeout(() => setCopied(undefined), 2_000)
    return () => clearTimeout(timer)
  }, [copied])
  const name = copied === undefined ? 'Copy a link to this view' : copied ? 'Link copied' : 'The browser forbids copying'
  return (
    <button
      type="button"
      aria-label={name}
      aria-live="polite"
      title={name}
      onClick={() => {
        const link = wholeAddress(writeAddress({ ...address, run: run.run_id }))
        void copy(link).then(setCopied)
      }}
      className={className}
    >
      <Icon name={copied === undefined ? 'link' : copied ? 'check' : 'cross'} size={children === undefined ? 16 : 14} />
      {children}
    </button>
  )
}

/** Copies text; false where the browser forbids it, as on a page that is neither secure nor on localhost. */
async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text)
    return true
  } catch {
    return false
  }
}
