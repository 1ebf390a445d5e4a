/** Activations as steps of a perceptual colour scale, whose colours `--heat-1` to `--heat-8` stand in `index.css`. */

export const HEAT_STEPS = 8

/** The step of an activation: 0 for silent, else 1 (weakest) to 8 (`max` and above) in equal steps. */
export function heatStep(activation: number, max: number): number {
  if (!(activation > 0) || !(max > 0)) return 0
  return Math.min(HEAT_STEPS, Math.max(1, Math.ceil((activation / max) * HEAT_STEPS - 1e-9)))
}
