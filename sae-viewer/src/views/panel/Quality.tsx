import type { Run } from '../../interpAPI'
import type { Address } from '../../lib/address'
import { Baselines } from './Baselines'
import { Calibration } from './Calibration'
import { Causes } from './Causes'
import { ClassifierReport } from './ClassifierReport'
import { Density } from './Density'
import { Fidelity } from './Fidelity'
import { points } from './fidelityPoints'
import { Layers } from './Layers'
import { Mending } from './Mending'
import { Multiplicity } from './Multiplicity'
import { NameScores } from './NameScores'
import { Provenance } from './Provenance'
import { SaeFamily } from './SaeFamily'
import { SeedStability } from './SeedStability'

/** The quality of a run: its classifier, its SAE, its features, and its provenance. */
export default function Quality({ run, address }: { run: Run; address: Address }) {
  return (
    <div className="grid grid-cols-1 gap-x-12 gap-y-9 md:grid-cols-2">
      <ClassifierReport run={run} />
      <SaeFamily run={run} />
      <Density run={run} />
      <NameScores run={run} />
      <SeedStability run={run} address={address} />
      <Baselines run={run} />
      <Layers run={run} />
      <Causes run={run} />
      <Calibration run={run} address={address} />
      <Mending run={run} address={address} />
      <Fidelity series={[points(run)]} name={`${run.run_id}-L0-FVU`} />
      <Multiplicity run={run} />
      <Provenance run={run} />
    </div>
  )
}
