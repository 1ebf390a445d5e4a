/** Activations as steps of one perceptual scale; `index.css` holds the colours `--heat-0` to `--heat-8`. */

export const HEAT_STEPS = 8

/** 0 for silent, else 1 (faintest) to 8 (`max` and above), in equal steps. */
export function heatStep(activation: number, max: number): number {
  if (!(activation > 0) || !(max > 0)) return 0
  return Math.min(HEAT_STEPS, Math.max(1, Math.ceil((activation / max) * HEAT_STEPS - 1e-9)))
}
