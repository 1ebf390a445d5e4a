/** The shared run as a source of answers; what reads it is loaded by a shared page only. */

import type { Source } from '../interpAPI'

/** Answers from the run at `place`, which is opened with the first question, and again where that failed. */
export function sharedRun(place: string): Source {
  let opening: Promise<Source> | undefined
  return async (path, query) => {
    opening ??= open(place)
    let answer: Source
    try {
      answer = await opening
    } catch (error) {
      opening = undefined
      throw error
    }
    return answer(path, query)
  }
}

async function open(place: string): Promise<Source> {
  const { answer, openRun } = await import('./answers')
  const run = await openRun(place)
  return (path, query) => answer(run, path, query as Record<string, unknown>)
}
