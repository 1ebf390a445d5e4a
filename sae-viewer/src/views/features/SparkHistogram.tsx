const WIDTH = 64
const HEIGHT = 18

/** A small histogram of a feature's activations from weak (left) to strong (right), both axes logarithmic. */
export function SparkHistogram({ counts }: { counts: readonly number[] }) {
  const largest = Math.log10(Math.max(1, ...counts) + 1)
  const step = WIDTH / counts.length
  // All bars are one path, because scrolling draws many rows.
  const bars = counts.map((n, i) => {
    const height = n > 0 ? Math.max(1.5, (Math.log10(n + 1) / largest) * HEIGHT) : 0
    return height > 0 ? `M${(i * step).toFixed(1)} ${HEIGHT}v-${height.toFixed(1)}h${(step - 0.8).toFixed(1)}v${height.toFixed(1)}` : ''
  })
  return (
    <svg aria-hidden="true" width={WIDTH} height={HEIGHT} className="block">
      <path d={`M0 ${HEIGHT - 0.5}H${WIDTH}`} className="stroke-line" />
      <path d={bars.join('')} className="fill-bar" />
    </svg>
  )
}
