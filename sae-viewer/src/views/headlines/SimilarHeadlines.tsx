import { Link } from 'wouter'
import { Icon } from '../../components/Icon'
import { ClassName, isCorrect } from '../../components/Outcome'
import { useLabelled } from '../../hooks/useLabelled'
import { visible } from '../../lib/text'
import { useSimilarHeadlines } from './useSimilarHeadlines'

const SHOWN = 5

/** The headlines whose features are most similar, by the cosine of their strongest features. */
export function SimilarHeadlines({ run, headline, labels, href }: {
  run: string
  headline: number
  labels: readonly string[]
  href: (headline: number) => string
}) {
  const labelled = useLabelled()
  const { data, error } = useSimilarHeadlines(run, headline, SHOWN)
  if (error && !data) return <p className="mt-4 text-xs text-wrong">{error.message}</p>
  const near = data?.filter(({ similarity }) => similarity > 0)
  if (near?.length === 0) return <p className="mt-4 text-xs text-faint">No other headline has any of these features.</p>
  return (
    <section aria-label="Headlines with similar features" className="mt-4">
      <h2 className="eyebrow flex justify-between gap-4 pb-1">
        Headlines with similar features
        <span className="font-normal" title="Cosine of the activations of the two headlines’ strongest features">
          cosine
        </span>
      </h2>
      <ol>
        {near
          ? near.map(({ similarity, headline: { headline: id, text, ...outcome } }) => (
              <li key={id} className="border-t border-line">
                <Link
                  href={href(id)}
                  className="group grid min-h-8 grid-cols-[1rem_minmax(0,1fr)_auto] items-center gap-x-2.5 py-1 text-xs hover:bg-sunk sm:grid-cols-[1rem_minmax(0,1fr)_5.5rem_3rem]"
                >
                  {labelled ? (
                    <Icon
                      name={isCorrect(outcome) ? 'check' : 'cross'}
                      size={12}
                      className={isCorrect(outcome) ? 'text-correct' : 'text-wrong'}
                    />
                  ) : (
                    <span />
                  )}
                  {labelled && <span className="sr-only">{isCorrect(outcome) ? 'Correct' : 'Wrong'}</span>}
                  <bdi className="truncate font-serif text-[0.9375rem] decoration-edge underline-offset-4 group-hover:underline">
                    {visible(text)}
                  </bdi>
                  <span className="hidden sm:block">
                    <ClassName labels={labels} index={outcome.prediction} />
                  </span>
                  <span className="text-right tabular-nums">{similarity.toFixed(2)}</span>
                </Link>
              </li>
            ))
          : Array.from({ length: SHOWN }, (_, i) => (
              <li key={i} className="flex h-8 items-center border-t border-line">
                <span className="skeleton h-3 w-3/5" />
              </li>
            ))}
      </ol>
    </section>
  )
}
