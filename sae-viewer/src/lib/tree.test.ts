import { expect, it } from 'vitest'
import type { FamilyMatch, SimilarFeature } from '../interpAPI'
import { familyTree, sizeOf } from './tree'

const like = (feature: number, similarity: number): SimilarFeature => ({ feature, similarity, word: 'cut', found_name: null })
const match = (size: string, feature: number, verdict: FamilyMatch['verdict'], siblings: SimilarFeature[] = []): FamilyMatch => ({
  size, sae_hash: size, run_id: null, feature, cosine: 0.8, coactivation: 0.5, verdict, siblings,
})

it('reads the number of features of a size', () => {
  expect(['4k', '32k-e2e', '1.5k', '512', 'odd'].map(sizeOf)).toEqual([4_000, 32_000, 1_500, 512, 0])
})

it('has smaller SAEs on the left, larger ones and other seeds on the right', () => {
  const family = [match('4k', 7, 'split', [like(11, 0.6), like(12, 0.5)]), match('32k', 99, 'match'), match('16k', 3, 'match'), match('64k', 1, 'absent')]
  const tree = familyTree(10, '16k', family, [like(12, 0.9), like(13, 0.79)])
  expect(tree?.nodes.map(({ feature, column, row, kind }) => [feature, column, row, kind])).toEqual([
    [10, 1, 0, 'self'],
    [7, 0, 0, 'counterpart'],
    [11, 1, 1, 'sibling'],
    [12, 1, 2, 'sibling'],
    [99, 2, 0, 'counterpart'],
    [3, 2, 1, 'counterpart'],
  ])
  expect(tree?.rows).toBe(3)
  // A feature that is both a sibling and a near duplicate stands once, with both lines.
  expect(tree?.lines.filter(({ to }) => to === 'own 12').map(({ from }) => from)).toEqual(['4k 7', 'self'])
})

it('is left out where there is nothing to draw', () => {
  expect(familyTree(1, '4k', [match('8k', 2, 'absent')], [like(3, 0.5)])).toBeUndefined()
})
