import { describe, expect, it } from 'vitest'
import { claimOn, failed, verdictOn, type Claim } from './evidence'

const claim = (against: Claim['against'], k: number | null, verdict: Claim['verdict'], measure: Claim['measure'] = 'auroc'): Claim => ({
  against,
  measure,
  k,
  rival_k: k,
  sae: 0.8,
  rival: 0.8,
  gain: 0,
  interval: [0, 0],
  verdict,
  better_seeds: null,
  sentence: `${against} ${k} ${measure}`,
})
const claims = [claim('neurons', 5, 'not better'), claim('neurons', null, 'better'), claim('neurons', null, 'better', 'fvu'), claim('bag of words', 5, 'worse')]

describe('claims against baselines', () => {
  it('are marked in words where they fail, and only there', () => {
    expect(verdictOn(claimOn(claims, 'neurons', 'auroc', 5))).toBe('no clear difference')
    expect(verdictOn(claimOn(claims, 'bag of words', 'auroc', 5))).toBe('beats the SAE')
    expect(verdictOn(claimOn(claims, 'neurons', 'auroc'))).toBe('')
    expect(verdictOn(claimOn(claims, 'pca', 'auroc', 5))).toBe('')
  })

  it('are told apart by what they measure', () => {
    expect(claimOn(claims, 'neurons', 'fvu')?.sentence).toBe('neurons null fvu')
  })

  it('are listed where they fail, those that the SAE loses first', () => {
    expect(failed(claims).map(({ verdict }) => verdict)).toEqual(['worse', 'not better'])
  })
})
