/** A headline with its heat as one self-contained HTML file. */

import type { FiredFeature, Headline } from '../interpAPI'
import { className, describeProbabilities } from './classes'
import { number, percent } from './format'
import { HEAT_STEPS, heatStep } from './heat'
import { activationOn, stretches, visible } from './text'

// The heat colours of the page in hexadecimal, from paper to deep plum.
const HEAT = ['#fbe8f4', '#f7d3ea', '#f1bbde', '#e9a0d0', '#dd82bf', '#c963a6', '#9c3a80', '#6f1a5a']
/** From this index on the text is white. */
const WHITE_TEXT = 6

const STYLE = `
:root { color-scheme: light }
body { margin: 2.5rem auto; max-width: 46rem; padding: 0 1.25rem; background: #fdfaf6; color: #2a2320; font: 16px/1.5 ui-sans-serif, system-ui, sans-serif }
h1 { font: 400 1.375rem/1.5 ui-serif, Georgia, serif; overflow-wrap: anywhere; white-space: pre-wrap; unicode-bidi: isolate }
mark { color: inherit; border-radius: 3px }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .75rem .3rem 0; border-bottom: 1px solid #e5ddd5; text-align: left; font-weight: 400 }
td.n { text-align: right }
p, caption { color: #6b5f58; text-align: left; font-size: .875rem }
.unread { color: #7d716a }
${HEAT.map((colour, i) => `.h${i + 1} { background: ${colour};${i >= WHITE_TEXT ? ' color: #fff' : ''} }`).join('\n')}`

export function escapeHtml(text: string): string {
  const names: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }
  return visible(text).replace(/[&<>"']/g, (character) => names[character] ?? '')
}

/** The page of a headline. `lit` is the feature whose heat is shown, `name` the name that a person gave it. */
export function headlineHtml(headline: Headline, lit: FiredFeature, about: { run: string; labels: readonly string[]; name?: string | undefined }): string {
  const { labels, run } = about
  const max = Math.max(...lit.values)
  const text = stretches(headline)
    .map((part) => {
      const activation = activationOn(part, lit)
      const step = heatStep(activation, max)
      if (step > 0) return `<mark class="h${step}" title="activation ${number(activation)}">${escapeHtml(part.text)}</mark>`
      return part.kind === 'unread' ? `<span class="unread">${escapeHtml(part.text)}</span>` : escapeHtml(part.text)
    })
    .join('')
  const classes = escapeHtml(describeProbabilities(labels, headline.probabilities, percent))
  const rows = headline.features
    .map(({ feature, word, activation }) => `<tr><td>${feature}</td><td><bdi>${escapeHtml(word)}</bdi></td><td class="n">${number(activation)}</td></tr>`)
    .join('\n')
  const title = `Feature ${lit.feature}${about.name ? ` (${escapeHtml(about.name)})` : ''}`
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title} on headline ${escapeHtml(headline.headline_id)}</title>
<style>${STYLE}</style>
</head>
<body>
<h1 dir="auto">${text}</h1>
<p>${title}: activation from 0 to ${number(max)} in ${HEAT_STEPS} equal steps, paper to deep plum.</p>
<p>Predicted <b>${escapeHtml(className(labels, headline.prediction))}</b>, label <b>${escapeHtml(className(labels, headline.label))}</b> (${classes}).</p>
<table>
<caption>Strongest features</caption>
<tr><th>feature</th><th>strongest word</th><th>activation f</th></tr>
${rows}
</table>
<p>${escapeHtml(run)}, headline ${escapeHtml(headline.headline_id)}. Made by the FinBERT SAE Explorer.</p>
</body>
</html>
`
}
