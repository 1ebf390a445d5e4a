/** The baselines of an SAE, and what the claims against them say. */

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
  pca: ['PCA', 'As many principal components as the SAE has active features.'],
  neurons: ['neurons', 'The largest dimensions of the activation, as many as the SAE has active features.'],
  activations: ['activations', 'A dense probe on the mean activation of the headline.'],
  'bag of words': ['bag of words', 'Which words the headline has.'],
}

/** What a claim says of a rival, beside the rival's figure; empty where the SAE is better, as it claims. */
export function verdictOn(claim: Claim | undefined): string {
  if (!claim || claim.verdict === 'better') return ''
  return claim.verdict === 'worse' ? 'beats the SAE' : 'not beaten'
}

/** The claim about a rival's probe of `k` units (null: all), or about its FVU. A dense rival stands beside the SAE's probe on all features. */
export function claimOn(claims: readonly Claim[], against: Rival['name'], measure: Claim['measure'], k: number | null = null): Claim | undefined {
  return claims.find((claim) => claim.against === against && claim.measure === measure && claim.k === k)
}

/** The claims that fail, those that the SAE loses first. */
export function failed(claims: readonly Claim[]): Claim[] {
  return claims.filter(({ verdict }) => verdict !== 'better').sort((one, other) => Number(other.verdict === 'worse') - Number(one.verdict === 'worse'))
}
