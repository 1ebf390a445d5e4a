import { LabelMark } from '../../components/FeatureName'
import { useLabel } from '../../hooks/useLabels'
import { visible } from '../../lib/text'

/** The annotation that people gave a feature before the run was shared. */
export function LabelShown({ feature }: { feature: number }) {
  const label = useLabel(feature)
  if (!label) return null
  return (
    <section aria-label="Annotation" className="mt-2">
      <p className="flex min-w-0 items-baseline gap-2">
        <LabelMark label={label} />
      </p>
      {label.note && <bdi className="mt-1 block max-w-[38rem] whitespace-pre-line text-soft wrap-anywhere">{visible(label.note)}</bdi>}
    </section>
  )
}
