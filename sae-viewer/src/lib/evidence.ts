/** The baselines of an SAE, and the claims that it is better than they are. */

import type { EvidenceAnswer } from '../interpAPI'

export type Rival = EvidenceAnswer['controls'][number]
export type ProbeScore = Rival['probing'][number]
export type Claim = EvidenceAnswer['claims'][number]

/** What a baseline is, in a few words. */
export const RIVALS: Record<Rival['name'], [name: string, description: string]> = {
  sae: ['this SAE', 'The SAE of this run.'],
  'frozen decoder': ['frozen decoder', 'An SAE trained in the same way whose decoder rows stay random.'],
  'frozen encoder': ['frozen encoder', 'An SAE trained in the same way whose encoder directions stay random.'],
  'random model': ['random model', 'An SAE trained in the same way on the same network with random weights.'],
  pca: ['PCA', 'As many principal components as the SAE has active features per token.'],
  neurons: ['neurons', 'The largest dimensions of each token’s activation, as many as the SAE has active features.'],
  activations: ['mean activation', 'A dense probe: it reads the mean activation of the headline.'],
  'bag of words': ['bag of words', 'A probe that reads which words the headline contains.'],
}

/** What stands beside a baseline's figure: nothing if the SAE is better, as claimed. */
export function verdictOn(claim: Claim | undefined): string {
  if (!claim || claim.verdict === 'better') return ''
  return claim.verdict === 'worse' ? 'beats the SAE' : 'no clear difference'
}

/** The claim about a baseline's probe on `k` units (null: all), or about its FVU. The dense probe is compared with the SAE's probe on all features. */
export function claimOn(claims: readonly Claim[], against: Rival['name'], measure: Claim['measure'], k: number | null = null): Claim | undefined {
  return claims.find((claim) => claim.against === against && claim.measure === measure && claim.k === k)
}

/** The claims that fail; those in which the baseline is better come first. */
export function failed(claims: readonly Claim[]): Claim[] {
  return claims.filter(({ verdict }) => verdict !== 'better').sort((one, other) => Number(other.verdict === 'worse') - Number(one.verdict === 'worse'))
}
