import { className, isMany } from '../lib/classes'
import { Choice } from './Choice'
import { ClassMark } from './Outcome'
import { SearchChoice } from './SearchChoice'

/** A dropdown for a class or for any, with a search where there are many. */
export function ClassChoice({ name, labels, chosen, onChoose }: {
  name: string
  labels: readonly string[]
  chosen: number | undefined
  onChoose: (index: number | undefined) => void
}) {
  const options = labels.map((_, index) => ({
    value: String(index),
    label: className(labels, index),
    mark: <ClassMark labels={labels} index={index} />,
  }))
  const List = isMany(labels) ? SearchChoice : Choice
  return (
    <List
      label={name}
      value={chosen === undefined ? '' : String(chosen)}
      options={[{ value: '', label: 'any class' }, ...options]}
      onChoose={(value) => onChoose(value === '' ? undefined : Number(value))}
    />
  )
}
