import { Link } from 'wouter'
import { Icon } from '../../components/Icon'
import type { Run } from '../../interpAPI'
import { writeAddress, type FeaturesAddress } from '../../lib/address'
import { CardPage } from './CardPage'
import { FeatureList } from './FeatureList'
import { FeaturePage } from './FeaturePage'

const PAGE = 'mx-auto grid max-w-[96rem] 3xl:max-w-[114rem] grid-cols-1 gap-x-10 px-4 sm:px-6'

/** The Features tab: the list of features, or the page of one feature beside the list. */
export function FeaturesView({ address, run }: { address: FeaturesAddress; run: Run }) {
  const chosen = address.feature
  if (chosen === undefined) {
    return (
      <FeatureList
        address={address}
        run={run}
        frame={(filters, list) => (
          <div className={`${PAGE} lg:grid-cols-[16.5rem_minmax(0,1fr)] 3xl:grid-cols-[19rem_minmax(0,1fr)]`}>
            <aside aria-label="Filters" className="-mx-1 px-1 pt-5 lg:sticky lg:top-14 lg:max-h-[calc(100dvh-3.5rem)] lg:self-start lg:overflow-y-auto lg:pb-6">
              {filters}
            </aside>
            <h1 className="sr-only">Features</h1>
            <section aria-label="Features" className="min-w-0 pb-16">
              {list}
            </section>
          </div>
        )}
      />
    )
  }
  if (address.card) return <CardPage feature={chosen} address={address} run={run} />
  return (
    <div className={`${PAGE} lg:grid-cols-[21rem_minmax(0,1fr)] xl:grid-cols-[24rem_minmax(0,1fr)]`}>
      <aside aria-label="All features" className="hidden lg:sticky lg:top-14 lg:flex lg:h-[calc(100dvh-3.5rem)] lg:flex-col lg:self-start">
        <FeatureList
          address={address}
          run={run}
          inPane
          frame={(filters, list) => (
            <>
              <div className="pt-5">{filters}</div>
              {list}
            </>
          )}
        />
      </aside>
      <div className="min-w-0 pb-16">
        <Link href={writeAddress({ ...address, feature: undefined })} className="quiet mt-4 lg:hidden">
          <Icon name="left" size={14} /> All features
        </Link>
        <FeaturePage feature={chosen} address={address} run={run} />
      </div>
    </div>
  )
}
