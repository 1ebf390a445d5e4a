import { Link } from 'wouter'
import { FeatureCalled } from '../../components/FeatureName'
import type { FeatureInfo } from '../../interpAPI'
import { FEATURES, writeAddress, type FeaturesAddress } from '../../lib/address'
import { number } from '../../lib/format'
import { DUPLICATE, familyTree, type Tree, type TreeNode } from '../../lib/tree'
import { Reading } from './Section'

/** The height of a row, in pixels. */
const ROW = 34
/** The columns' left ends and widths, in percent of the whole. */
interface Columns {
  lefts: readonly [number, number, number]
  widths: readonly [number, number, number]
}
const THREE: Columns = { lefts: [0, 36, 75], widths: [25, 28, 25] }
/** Near duplicates alone leave the outer columns empty. */
const MIDDLE: Columns = { lefts: [0, 5, 95], widths: [5, 90, 5] }

/** The feature among its counterparts in other SAEs and its near duplicates, as a tree. */
export function FamilyTree({ info, size, address }: { info: FeatureInfo; size: string; address: FeaturesAddress }) {
  const tree = familyTree(info.feature, size, info.family, info.similar_decoder)
  if (!tree) return null
  const counterparts = tree.nodes.some(({ kind }) => kind === 'counterpart')
  const columns = counterparts ? THREE : MIDDLE
  return (
    <section aria-label="Family tree" className={`pt-4 ${counterparts ? '' : 'max-w-[32rem]'}`}>
      <div className="relative" style={{ height: tree.rows * ROW + (counterparts ? 20 : 0) }}>
        {counterparts && (
          <p aria-hidden="true" className="flex h-5 text-xs text-faint">
            {['smaller SAEs', `this SAE, ${size}`, 'larger SAEs and other seeds'].map((name, i) =>
              tree.nodes.some(({ column }) => column === i) ? (
                <span key={name} className="absolute truncate" style={{ left: `${columns.lefts[i] ?? 0}%`, width: `${columns.widths[i] ?? 0}%` }}>
                  {name}
                </span>
              ) : null,
            )}
          </p>
        )}
        <div className={`absolute inset-x-0 bottom-0 ${counterparts ? 'top-5' : 'top-0'}`}>
          <Lines tree={tree} columns={columns} />
          <ul>
            {tree.nodes.map((node) => (
              <Node key={node.key} node={node} columns={columns} own={info} address={address} />
            ))}
          </ul>
        </div>
      </div>
      <Reading>
        {counterparts &&
          'A line joins a feature with its counterpart in another SAE. A dashed line marks a split: other features of this SAE have the same counterpart. '}
        {`Other features of this SAE with a cosine of at least ${DUPLICATE} are near duplicates. The numbers are cosines of decoder rows.`}
      </Reading>
    </section>
  )
}

const middle = (row: number) => (row + 0.5) * ROW

/** The lines between the columns, and brackets between features of this SAE. */
function Lines({ tree: { nodes, lines, rows }, columns: { lefts, widths } }: { tree: Tree; columns: Columns }) {
  const at = new Map(nodes.map((node) => [node.key, node]))
  return (
    <svg aria-hidden="true" className="absolute inset-0 h-full w-full overflow-visible" viewBox={`0 0 100 ${rows * ROW}`} preserveAspectRatio="none">
      {lines.map(({ from, to, dashed }) => {
        const [one, other] = [at.get(from), at.get(to)]
        if (!one || !other) return null
        const [left, right] = one.column <= other.column ? [one, other] : [other, one]
        const x = left.column === right.column ? lefts[left.column] : lefts[left.column] + widths[left.column]
        const end = lefts[right.column]
        const [y1, y2] = [middle(left.row), middle(right.row)]
        const path =
          left.column === right.column
            ? `M${x} ${y1} C${x - 3} ${y1} ${x - 3} ${y2} ${x} ${y2}`
            : `M${x} ${y1} C${(x + end) / 2} ${y1} ${(x + end) / 2} ${y2} ${end} ${y2}`
        return <path key={`${from} ${to}`} d={path} className="fill-none stroke-edge" strokeWidth="1.25" strokeDasharray={dashed ? '4 3' : undefined} vectorEffect="non-scaling-stroke" />
      })}
    </svg>
  )
}

function Node({ node, columns, own, address }: {
  node: TreeNode
  columns: Columns
  /** The feature whose tree it is. */
  own: FeatureInfo
  address: FeaturesAddress
}) {
  const { column, row, kind, feature, size, run, similar } = node
  const described = (
    <>
      <span className="shrink-0 tabular-nums">{kind === 'counterpart' ? `${size} · ${feature}` : feature}</span>
      {kind === 'self' && <FeatureCalled feature={feature} found={own.found_name} word={own.word} />}
      {similar && <FeatureCalled feature={feature} found={similar.found_name} word={similar.word} />}
      {similar && <span className="ml-auto shrink-0 text-faint tabular-nums">{number(similar.similarity)}</span>}
    </>
  )
  const look = 'flex h-7 min-w-0 items-center gap-1.5 rounded-md border px-2 text-xs'
  return (
    <li className="absolute" style={{ left: `${columns.lefts[column]}%`, width: `${columns.widths[column]}%`, top: middle(row) - 14 }}>
      {kind === 'self' ? (
        <span className={`${look} border-plum bg-raised font-semibold`}>{described}</span>
      ) : run === null ? (
        <span className={`${look} border-line bg-paper text-soft`} title="This SAE has no run">
          {described}
        </span>
      ) : (
        <Link href={writeAddress({ ...FEATURES, run: run ?? address.run, feature })} className={`${look} border-edge bg-paper hover:bg-sunk`}>
          {described}
        </Link>
      )}
    </li>
  )
}
