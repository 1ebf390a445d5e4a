/** The opening view: where a run has causes, the headlines that the classifier gets wrong or is least sure of come first. */

import type { Run } from '../interpAPI'
import { HEADLINES, writeAddress, type Address, type HeadlinesAddress, type Sort } from './address'

type Opening = Pick<HeadlinesAddress, 'order' | 'effects'> & { sort: Sort }

/** Wrong and uncertain headlines first, with effects; by confidence where no labels say what is wrong. */
export function hardestFirst({ labelled }: Pick<Run, 'labelled'>): Opening {
  return labelled ? { sort: 'loss', order: 'desc', effects: true } : { sort: 'confidence', order: 'asc', effects: true }
}

/** All headlines in the order of the run. It is written into the address, so that it is not taken for the opening view. */
export const IN_ORDER: Pick<Opening, 'sort' | 'order'> = { sort: 'position', order: 'asc' }

/** The address with the opening order where it names no order, filter or row and the run has causes; else as it is. */
export function opened(address: Address, run: Pick<Run, 'labelled' | 'has_causes'> | undefined): Address {
  if (address.view !== 'headlines' || !run?.has_causes) return address
  const { run: shown, grain, show, panel, compare } = address
  const bare = writeAddress(address) === writeAddress({ ...HEADLINES, run: shown, grain, show, panel, compare })
  return bare ? { ...address, ...hardestFirst(run) } : address
}
