import { createContext, useContext } from 'react'

/** Whether the run's table has labels, which `App` provides. Without, a headline's class is the classifier's prediction. */
export const LabelledContext = createContext(true)

export const useLabelled = () => useContext(LabelledContext)
