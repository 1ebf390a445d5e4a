import { SaveButtons } from '../../components/SaveButtons'
import { useLabel } from '../../hooks/useLabels'
import type { FiredFeature, Headline } from '../../interpAPI'
import { saveFile } from '../../lib/download'
import { headlineHtml } from '../../lib/standalone'

/** Buttons that save a headline with its heat as a page, or as JSON. */
export function HeadlineExport({ headline, lit, run, labels }: {
  headline: Headline
  lit: FiredFeature
  run: string
  labels: readonly string[]
}) {
  const label = useLabel(lit.feature)
  const name = `${run}-headline-${headline.headline_id}`
  return (
    <SaveButtons
      what="this headline"
      ways={{
        HTML: () => saveFile(`${name}.html`, headlineHtml(headline, lit, { run, labels, name: label?.name }), 'text/html'),
        JSON: () => saveFile(`${name}.json`, JSON.stringify(headline, null, 2), 'application/json'),
      }}
    />
  )
}
