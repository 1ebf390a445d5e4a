import type { Run } from '../../interpAPI'
import { ClassifierReport } from './ClassifierReport'
import { Density } from './Density'
import { Fidelity } from './Fidelity'
import { points } from './fidelityPoints'
import { NameScores } from './NameScores'
import { Provenance } from './Provenance'
import { SaeFamily } from './SaeFamily'

/** The quality of a run: its classifier, its SAE, its features, and its provenance. */
export default function Quality({ run }: { run: Run }) {
  return (
    <div className="grid grid-cols-1 gap-x-12 gap-y-9 md:grid-cols-2">
      <ClassifierReport run={run} />
      <SaeFamily run={run} />
      <Density run={run} />
      <NameScores run={run} />
      <Fidelity series={[points(run)]} name={`${run.run_id}-L0-FVU`} />
      <Provenance run={run} />
    </div>
  )
}
