import { useLabels } from '../hooks/useLabels'
import { featurePages, headlinePages, useListExport } from '../hooks/useListExport'
import type { FeatureRow, FeaturesQuery, Headline, HeadlinesQuery, RunMetadata } from '../interpAPI'
import { className } from '../lib/classes'
import { exportedCells } from '../lib/columns'
import type { Row } from '../lib/download'
import { count } from '../lib/format'
import { SaveButtons } from './SaveButtons'

/** Buttons that save all headlines that a query finds. */
export function HeadlinesExport({ query, run }: { query: HeadlinesQuery; run: RunMetadata }) {
  const row = (headline: Headline): Row => {
    const own = fields(headline)
    return { ...own, ...exportedCells(headline.columns, own) }
  }
  const fields = (headline: Headline): Row => ({
    headline_id: headline.headline_id,
    text: headline.text,
    ...(run.labelled ? { label: className(run.labels, headline.label) } : {}),
    prediction: className(run.labels, headline.prediction),
    ...Object.fromEntries(headline.probabilities.map((p, i) => [`p_${className(run.labels, i)}`, p])),
    features: headline.features.map(({ feature, activation }) => `${feature}:${activation}`).join(' '),
  })
  return <Export what="these headlines" state={useListExport(`${run.run_id}-headlines`, headlinePages(query), row)} />
}

/** Buttons that save all features that a query finds. */
export function FeaturesExport({ query, run }: { query: FeaturesQuery; run: RunMetadata }) {
  const { labels } = useLabels(run)
  const row = ({ feature, found_name, word, n_headlines, density, status, leaning, values }: FeatureRow): Row => ({
    feature,
    name: labels[feature]?.name,
    found_name: found_name?.text,
    found_name_auroc: found_name?.score,
    word,
    n_headlines,
    density,
    status,
    leaning: leaning === null ? null : className(run.labels, leaning),
    ...values,
  })
  return <Export what="these features" state={useListExport(`${run.run_id}-features`, featurePages(query), row)} />
}

function Export({ what, state }: { what: string; state: ReturnType<typeof useListExport> }) {
  if (!state.progress) return <SaveButtons what={what} ways={{ CSV: () => state.save('csv'), JSON: () => state.save('json') }} />
  const { done, total } = state.progress
  return (
    <span role="status" className="text-xs text-soft tabular-nums">
      {count(done)} of {count(total)} collected{' '}
      <button type="button" className="quiet" onClick={state.stop}>
        Stop
      </button>
    </span>
  )
}
