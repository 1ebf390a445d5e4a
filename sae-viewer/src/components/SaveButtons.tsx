import { useState } from 'react'
import { Icon } from './Icon'

/** One small button for each format in which something can be saved. */
export function SaveButtons({ what, ways, className = '' }: {
  what: string
  ways: Record<string, () => void | Promise<void>>
  className?: string
}) {
  const [failed, setFailed] = useState('')
  return (
    <span className={`inline-flex items-center gap-2 text-xs whitespace-nowrap text-soft ${className}`}>
      <Icon name="save" size={13} className="text-faint" />
      {Object.entries(ways).map(([format, save]) => (
        <button
          key={format}
          type="button"
          className="quiet"
          aria-label={`Save as ${format}: ${what}`}
          onClick={() => {
            setFailed('')
            Promise.resolve()
              .then(save)
              .catch((error: unknown) => setFailed(error instanceof Error ? error.message : 'It was not saved.'))
          }}
        >
          {format}
        </button>
      ))}
      {failed && (
        <span role="alert" className="text-wrong">
          {failed}
        </span>
      )}
    </span>
  )
}
