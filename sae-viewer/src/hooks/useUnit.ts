import { createContext, useContext } from 'react'
import type { RunMetadata } from '../interpAPI'

/** What a feature fires on: tokens, or headlines as a whole where the SAE reads one vector per headline. */
export type Unit = 'token' | 'headline'

/** The unit of the shown run, which `App` provides. */
export const UnitContext = createContext<Unit>('token')

export const useUnit = () => useContext(UnitContext)

export function unitOf(run: Pick<RunMetadata, 'sae'> | undefined): Unit {
  return run?.sae.positions === 'cls' || run?.sae.positions === 'mean' ? 'headline' : 'token'
}

/** What the page says where it would show on which words a feature fires. */
export const WHOLE = 'This SAE reads one vector per headline, so features fire on the headline as a whole, not on its words.'
