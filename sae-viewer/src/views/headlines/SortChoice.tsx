import { Choice } from '../../components/Choice'
import { SearchChoice } from '../../components/SearchChoice'
import { BY_COLUMN, ORDERS, SORTS, type Order, type Sort } from '../../lib/address'
import { visible } from '../../lib/text'

type OwnSort = (typeof SORTS)[number]

const NAMES: Record<OwnSort, [label: string, asc: string, desc: string]> = {
  position: ['order of the run', 'first to last', 'last to first'],
  confidence: ['confidence', 'lowest first', 'highest first'],
  margin: ['margin', 'narrowest first', 'widest first'],
  loss: ['loss', 'lowest first', 'highest first'],
}
const BY_MEANING: (typeof NAMES)[OwnSort] = ['meaning', 'nearest first', 'farthest first']
const HELP: Record<OwnSort, string> = {
  position: '',
  confidence: 'The probability of the predicted class.',
  margin: 'The probability of the predicted class minus that of the runner-up.',
  loss: '−log of the true class’s probability; high means confidently wrong.',
}
/** Columns from which on the list has a search. */
const MANY_COLUMNS = 6

/** The order of the headlines: by what the classifier says, or by a column of the table. */
export function SortChoice({ sort, order, columns, labelled, byMeaning, onSort }: {
  sort: Sort
  order: Order
  columns: readonly string[]
  labelled: boolean
  /** Whether the list is a search by meaning, which has an order of its own. */
  byMeaning: boolean
  onSort: (sort: Sort, order: Order) => void
}) {
  const nameOf = (one: OwnSort) => (byMeaning && one === 'position' ? BY_MEANING : NAMES[one])
  const own = SORTS.filter((one) => labelled || one !== 'loss').flatMap((one) =>
    [...ORDERS].reverse().map((to) => ({
      value: `${to} ${one}`,
      label: `${nameOf(one)[0]}, ${nameOf(one)[to === 'asc' ? 1 : 2]}`,
      description: HELP[one],
    })),
  )
  own.sort((one, other) => Number(other.value === 'asc position') - Number(one.value === 'asc position'))
  const byColumn = columns.flatMap((name) =>
    ORDERS.map((to) => ({ value: `${to} ${BY_COLUMN}${name}`, label: `${visible(name)}, ${to === 'asc' ? 'lowest' : 'highest'} first` })),
  )
  const List = columns.length > MANY_COLUMNS ? SearchChoice : Choice
  return (
    <List
      label="Sort"
      value={`${order} ${sort}`}
      options={[...own, ...byColumn]}
      onChoose={(value) => {
        const at = value.indexOf(' ')
        onSort(value.slice(at + 1) as Sort, value.slice(0, at) as Order)
      }}
    />
  )
}
