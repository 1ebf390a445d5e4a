import { Modal } from './Modal'

const KEYS: [keys: string[], what: string][] = [
  [['/'], 'Search'],
  [['j', '↓'], 'Next row'],
  [['k', '↑'], 'Previous row'],
  [['Enter'], 'Open the row'],
  [['['], 'Previous feature'],
  [[']'], 'Next feature'],
  [['r'], 'Random feature of the list'],
  [['g h'], 'Headlines'],
  [['g f'], 'Features'],
  [['Esc'], 'Clear, close'],
  [['?'], 'This help'],
]

/** The keys, and how to read what is shown. */
export function HelpDialog({ onClose }: { onClose: () => void }) {
  return (
    <Modal title="Keys and reading" onClose={onClose}>
      <dl className="grid grid-cols-[6rem_1fr] gap-y-1.5">
        {KEYS.map(([keys, what]) => (
          <div key={what} className="contents">
            <dt className="flex gap-1">
              {keys.map((key) => (
                <kbd key={key} className="key text-soft">
                  {key}
                </kbd>
              ))}
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
      <div className="mt-6 space-y-2.5 leading-6 text-soft">
        <p>
          A <em>feature</em> is one direction of the sparse autoencoder. Its activation <em>f</em> says how strongly a
          token has that direction; most features are silent on most tokens.
        </p>
        <p>
          A chip names a feature and the word on which it fires most in this headline. The line under it is its
          activation against the headline’s strongest. Hover it, or move the focus there, and the words on which it
          fires light up.
        </p>
        <p>Grey text was never read by the classifier: links, and what exceeds its length.</p>
      </div>
    </Modal>
  )
}
