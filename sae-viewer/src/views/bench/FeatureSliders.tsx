import { Link } from 'wouter'
import { FeatureName } from '../../components/FeatureName'
import { Icon } from '../../components/Icon'
import type { FoundName, LiveFeature } from '../../interpAPI'
import { describeEdit, OPERATIONS, withEdit, type FeatureEdit, type Operation } from '../../lib/bench'
import { className } from '../../lib/classes'
import { signed } from '../../lib/effects'
import { counted, number } from '../../lib/format'

/** [least, greatest, step] of an operation's slider; ablating is the left end of scaling. */
const RANGES: Record<Operation, [number, number, number]> = {
  ablate: [0, 3, 0.05],
  scale: [0, 3, 0.05],
  clamp: [0, 40, 0.5],
  add: [-20, 20, 0.5],
}
/** The value with which an operation begins. */
const START: Record<Operation, number> = { ablate: 0, scale: 0.5, clamp: 10, add: 5 }
const NAMES: Record<Operation, string> = { ablate: 'ablate', scale: 'scale', clamp: 'set to', add: 'add' }

interface Row {
  feature: number
  fired: LiveFeature | undefined
  edit: FeatureEdit | undefined
}

/** The features with the largest effect and any other edited features, each with a slider. */
export function FeatureSliders({ fired, found, edits, maxEdits, prediction, labels, href, lit, onLight, onEdits }: {
  fired: readonly LiveFeature[]
  /** The names that the analysis found. */
  found: Record<number, FoundName | undefined>
  edits: readonly FeatureEdit[]
  /** The most features that may be edited at once. */
  maxEdits: number
  prediction: number
  labels: readonly string[]
  href: (feature: number) => string
  lit: number | undefined
  onLight: (feature: number | undefined) => void
  onEdits: (edits: FeatureEdit[]) => void
}) {
  const others = edits.filter(({ feature }) => !fired.some((one) => one.feature === feature))
  const rows: Row[] = [
    ...fired.map((one) => ({ feature: one.feature, fired: one, edit: edits.find(({ feature }) => feature === one.feature) })),
    ...others.map((edit) => ({ feature: edit.feature, fired: undefined, edit })),
  ]
  return (
    <section aria-label="Features">
      <div className="flex items-baseline justify-between gap-4">
        <h3 className="eyebrow">Features by effect on the {className(labels, prediction)} logit</h3>
        {edits.length > 0 && (
          <button type="button" className="quiet text-xs" onClick={() => onEdits([])}>
            Undo {counted(edits.length, 'edit')}
          </button>
        )}
      </div>
      <ul className="mt-1 border-t border-line text-xs" onPointerLeave={() => onLight(undefined)}>
        {rows.map(({ feature, fired: one, edit }) => (
          <li
            key={feature}
            className={`grid grid-cols-[5.5rem_minmax(0,1fr)_4.25rem] items-center gap-x-3 gap-y-1 border-b border-line py-1.5 sm:py-1 sm:grid-cols-[minmax(0,1fr)_3.5rem_5.5rem_9rem_4.25rem] ${lit === feature ? 'bg-sunk' : ''}`}
            onPointerEnter={() => onLight(feature)}
          >
            <Link href={href(feature)} className="flex min-w-0 gap-1 hover:underline max-sm:col-span-2">
              {one ? (
                <FeatureName feature={feature} found={found[feature]} word={one.word} />
              ) : (
                <>
                  <span className="shrink-0 text-soft">Feature {feature}</span> <i className="truncate text-faint">not in the top {fired.length}</i>
                </>
              )}
            </Link>
            <span
              className="text-right font-semibold tabular-nums"
              title={one?.ablation ? `Measured by ablation: ${signed(one.ablation.logits[prediction] ?? 0)} logits` : undefined}
            >
              {one && signed(one.effects[prediction] ?? 0)}
            </span>
            <select
              aria-label={`Edit of feature ${feature}`}
              className="h-6 rounded border border-line bg-raised px-1"
              value={edit?.operation ?? 'scale'}
              onChange={(event) => {
                const operation = OPERATIONS.find((name) => name === event.target.value) ?? 'scale'
                onEdits(withEdit(edits, feature, { feature, operation, value: START[operation] }))
              }}
            >
              {OPERATIONS.map((name) => (
                <option key={name} value={name}>{NAMES[name]}</option>
              ))}
            </select>
            <Slider feature={feature} edit={edit} onEdit={(next) => onEdits(withEdit(edits, feature, next))} />
            <span className="flex items-center justify-end gap-1 tabular-nums">
              {edit ? (
                <>
                  {describeEdit(edit)}
                  <button type="button" aria-label={`Undo the edit of feature ${feature}`} className="rounded p-0.5 text-soft hover:text-ink" onClick={() => onEdits(withEdit(edits, feature, undefined))}>
                    <Icon name="cross" size={12} />
                  </button>
                </>
              ) : (
                <span className="text-faint">f {one && number(one.activation)}</span>
              )}
            </span>
          </li>
        ))}
      </ul>
      {edits.length >= maxEdits && <p className="mt-2 text-xs text-soft">No more than {counted(maxEdits, 'feature')} can be edited at once.</p>}
      <AddFeature onAdd={(feature) => onEdits(withEdit(edits, feature, { feature, operation: 'add', value: START.add }))} />
    </section>
  )
}

function Slider({ feature, edit, onEdit }: { feature: number; edit: FeatureEdit | undefined; onEdit: (edit: FeatureEdit) => void }) {
  const operation = edit?.operation === 'ablate' || !edit ? 'scale' : edit.operation
  const [min, max, step] = RANGES[operation]
  const value = edit ? (edit.operation === 'ablate' ? 0 : edit.value) : 1
  return (
    <input
      type="range"
      aria-label={`Feature ${feature}: ${NAMES[operation]}`}
      aria-valuetext={edit ? describeEdit(edit) : 'not edited'}
      min={min}
      max={max}
      step={step}
      value={value}
      className="h-5 w-full min-w-0"
      onChange={(event) => {
        const next = Number(event.target.value)
        onEdit(operation === 'scale' && next === 0 ? { feature, operation: 'ablate', value: 0 } : { feature, operation, value: next })
      }}
    />
  )
}

function AddFeature({ onAdd }: { onAdd: (feature: number) => void }) {
  return (
    <form
      className="mt-2 flex items-center gap-2 text-xs"
      onSubmit={(event) => {
        event.preventDefault()
        const form = event.currentTarget
        const written = new FormData(form).get('feature')
        if (typeof written === 'string' && /^\d{1,9}$/.test(written)) {
          onAdd(Number(written))
          form.reset()
        }
      }}
    >
      <label className="text-soft">
        Add to a feature that is not listed{' '}
        <input name="feature" inputMode="numeric" pattern="\d{1,9}" placeholder="number" required className="field ml-1 inline-block !h-7 !w-24 px-2 tabular-nums" />
      </label>
      <button type="submit" className="button !min-h-7">Add</button>
    </form>
  )
}
