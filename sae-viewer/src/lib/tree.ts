/** A feature among its counterparts in other SAEs and its near duplicates, as a tree of three columns. */

import type { FamilyMatch, SimilarFeature } from '../interpAPI'

export interface TreeNode {
  key: string
  /** 0: smaller SAEs; 1: the run's own; 2: larger SAEs and other seeds. */
  column: 0 | 1 | 2
  row: number
  kind: 'self' | 'sibling' | 'duplicate' | 'counterpart'
  feature: number
  size: string
  /** The run that shows it; null: no run has it. */
  run: string | null | undefined
  /** The feature with what it is called, for those of this run. */
  similar: SimilarFeature | undefined
}

export interface TreeLine {
  from: string
  to: string
  cosine: number
  /** Whether the two are no more than near each other: a split, or a duplicate. */
  dashed: boolean
}

export interface Tree {
  nodes: TreeNode[]
  lines: TreeLine[]
  rows: number
}

/** The least cosine of decoder rows at which two features of one SAE count as near duplicates. */
export const DUPLICATE = 0.8
const MOST_DUPLICATES = 5

/** The number of features that a size names: 32,000 for "32k-e2e". */
export function sizeOf(size: string): number {
  const [, digits = '0', thousand = ''] = /^(\d+(?:\.\d+)?)(k?)/.exec(size) ?? []
  return Number(digits) * (thousand ? 1_000 : 1)
}

/** The tree of a feature; undefined where it has neither counterparts nor near duplicates. */
export function familyTree(feature: number, size: string, family: readonly FamilyMatch[], alike: readonly SimilarFeature[]): Tree | undefined {
  const found = family.filter((match) => match.verdict !== 'absent' && match.feature !== null)
  const duplicates = alike.filter(({ similarity }) => similarity >= DUPLICATE).slice(0, MOST_DUPLICATES)
  if (found.length === 0 && duplicates.length === 0) return undefined
  const nodes: TreeNode[] = [{ key: 'self', column: 1, row: 0, kind: 'self', feature, size, run: undefined, similar: undefined }]
  const lines: TreeLine[] = []
  const rows: [number, number, number] = [0, 1, 0]
  const add = (node: Omit<TreeNode, 'row'>) => {
    if (!nodes.some(({ key }) => key === node.key)) nodes.push({ ...node, row: rows[node.column]++ })
  }
  const own = (one: SimilarFeature, kind: 'sibling' | 'duplicate') =>
    add({ key: `own ${one.feature}`, column: 1, kind, feature: one.feature, size, run: undefined, similar: one })
  for (const match of found) {
    const smaller = sizeOf(match.size) < sizeOf(size)
    const key = `${match.sae_hash} ${match.feature ?? 0}`
    add({ key, column: smaller ? 0 : 2, kind: 'counterpart', feature: match.feature ?? 0, size: match.size, run: match.run_id, similar: undefined })
    lines.push({ from: key, to: 'self', cosine: match.cosine ?? 0, dashed: match.verdict === 'split' })
    if (!smaller) continue
    for (const sibling of match.siblings) {
      own(sibling, 'sibling')
      lines.push({ from: key, to: `own ${sibling.feature}`, cosine: sibling.similarity, dashed: true })
    }
  }
  for (const one of duplicates) {
    own(one, 'duplicate')
    lines.push({ from: 'self', to: `own ${one.feature}`, cosine: one.similarity, dashed: true })
  }
  return { nodes, lines, rows: Math.max(...rows) }
}
