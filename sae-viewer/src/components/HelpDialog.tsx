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
  [['g m'], 'Map'],
  [['g b'], 'Bench'],
  [['Esc'], 'Clear or close'],
  [['?'], 'Show this help'],
]

/** The keyboard shortcuts, and how to read the views. */
export function HelpDialog({ onClose }: { onClose: () => void }) {
  return (
    <Modal title="Help" onClose={onClose}>
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
          A <em>feature</em> is one direction of the sparse autoencoder (SAE). Its activation <em>f</em> measures how
          strongly a token has that direction. Most features are silent on most tokens.
        </p>
        <p>
          A chip names a feature and the word on which it fires most in this headline. The line below compares its
          activation with the headline’s highest. When the pointer or the focus is on a chip, the words on which the
          feature fires are coloured.
        </p>
        <p>
          A chip with a signed number names a cause of the prediction. The number is the feature’s share of the predicted class’s logit. Words
          filled with the class’s colour raise this logit, underlined words lower it.
        </p>
        <p>The classifier did not read grey text, which is links and what exceeds its maximum length.</p>
      </div>
    </Modal>
  )
}
