import { WithCommands } from '../../components/Notices'
import { SaveButtons } from '../../components/SaveButtons'
import type { LayersFile, RunMetadata } from '../../interpAPI'
import { csv, saveFile } from '../../lib/download'
import { count, number, percent } from '../../lib/format'
import { ends, layerCharts, layerRows, type Measured } from '../../lib/layers'
import { LayerLines } from './LayerLines'
import { CELL, HEAD, Section, Strong } from './Section'
import { useLayers } from './useLayers'

/** Which layer an SAE should read: where the decision is, what a probe finds, and how well the SAE of each layer does. */
export function Layers({ run }: { run: RunMetadata }) {
  const { data, error } = useLayers(run.run_id)
  return (
    <Section
      title="Which layer?"
      className="md:col-span-2"
      aside={
        data && (
          <SaveButtons
            what="the layers"
            ways={{
              CSV: () => saveFile(`${run.run_id}-layers.csv`, csv(layerRows(data)), 'text/csv'),
              JSON: () => saveFile(`${run.run_id}-layers.json`, JSON.stringify(data, null, 2), 'application/json'),
            }}
          />
        )
      }
    >
      {error ? (
        <p className={error.code === 'no_layers' ? 'text-soft' : 'text-wrong'}>
          <WithCommands>{error.message}</WithCommands>
        </p>
      ) : data ? (
        <Found file={data} run={run} />
      ) : (
        <span className="skeleton block h-80" />
      )}
    </Section>
  )
}

function Found({ file, run }: { file: LayersFile; run: RunMetadata }) {
  const own = run.hookpoint.layer
  return (
    <>
      <p className="max-w-[56rem] pb-4">
        {file.answer.map((sentence) => (
          <span key={sentence} className="block">
            <WithCommands>{sentence}</WithCommands>
          </span>
        ))}
        <span className="mt-1 block text-xs text-soft">
          This run’s SAE reads layer <Strong>{own}</Strong>. The figures are of {count(file.n_headlines)} {file.split} headlines; probes and means are from{' '}
          {count(file.n_train)} train headlines. Bars and small numbers are 95 % intervals.
          {!file.labelled && ' The headlines have no labels, so the probes learn the classifier’s own predictions.'}
        </span>
      </p>
      <div className="grid grid-cols-1 gap-x-8 gap-y-6 md:grid-cols-2 lg:grid-cols-3">
        {layerCharts(file).map((chart, n) => (
          <LayerLines key={chart.title} chart={chart} own={own} name={`${run.run_id}-layers-${n + 1}`} />
        ))}
      </div>
      <div role="region" aria-label="Figures by layer" tabIndex={0} className="mt-4 overflow-x-auto">
        <table className="w-full">
          <thead>
            <tr>
              <th scope="col" className={`${HEAD} pl-0! text-left!`}>layer</th>
              <th scope="col" className={HEAD} title="Share of predictions that change when all words are replaced by their mean">without words</th>
              <th scope="col" className={HEAD} title="Share of predictions that change when [CLS] is replaced by its mean">without [CLS]</th>
              <th scope="col" className={HEAD} title="Accuracy of a probe on the mean over words">probe on words</th>
              <th scope="col" className={HEAD} title="Accuracy of a probe on [CLS]">probe on [CLS]</th>
              <th scope="col" className={HEAD}>SAE</th>
              <th scope="col" className={HEAD} title="Active features per token, held out">L0</th>
              <th scope="col" className={HEAD} title="Fraction of variance unexplained, held out">FVU</th>
              <th scope="col" className={HEAD} title="Share of predictions that stay the same when the reconstruction is spliced in">unchanged</th>
            </tr>
          </thead>
          <tbody>
            {file.layers.map((one) => (
              <tr key={one.layer} className={`border-t border-line ${one.layer === own ? 'bg-sunk/60' : ''}`}>
                <th scope="row" className={`py-1 text-left align-top ${one.layer === own ? 'font-semibold' : 'font-normal'}`}>{one.layer}</th>
                <Share share={one.changed_words} />
                <Share share={one.changed_cls} />
                <Share share={one.probe_words} />
                <Share share={one.probe_cls} />
                <td className={`${CELL} align-top`}>{one.sae?.size ?? '–'}</td>
                <td className={`${CELL} align-top`}>{one.sae ? number(one.sae.l0.value) : '–'}</td>
                <td className={`${CELL} align-top`}>
                  {one.sae ? one.sae.fvu.value.toFixed(3) : '–'}
                  {one.sae?.fvu.low != null && one.sae.fvu.high != null && (
                    <span className="block text-xs text-soft">
                      {one.sae.fvu.low.toFixed(3)} to {one.sae.fvu.high.toFixed(3)}
                    </span>
                  )}
                </td>
                {one.sae ? <Share share={one.sae.unchanged} /> : <td className={`${CELL} align-top`}>–</td>}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </>
  )
}

/** A share over its interval. */
function Share({ share }: { share: Measured }) {
  return (
    <td className={`${CELL} align-top`}>
      {percent(share.value)}
      <span className="block text-xs text-soft">{ends(share)}</span>
    </td>
  )
}
