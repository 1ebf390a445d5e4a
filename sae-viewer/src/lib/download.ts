/** Files made in the browser: tables as CSV or JSON, charts as SVG or PNG. */

export type Cell = string | number | boolean | null | undefined
export type Row = Record<string, Cell>

const PNG_SCALE = 2
/** Style properties that a saved chart has to carry itself. */
const STYLES = ['fill', 'fill-opacity', 'stroke', 'stroke-width', 'stroke-opacity', 'stroke-dasharray', 'opacity', 'font-family', 'font-size', 'font-weight', 'font-style', 'text-anchor', 'paint-order']

export function saveFile(name: string, content: string | Blob, type = 'text/plain'): void {
  const blob = typeof content === 'string' ? new Blob([content], { type: `${type};charset=utf-8` }) : content
  const link = document.createElement('a')
  link.href = URL.createObjectURL(blob)
  link.download = fileName(name)
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000)
}

/** A file name that every operating system accepts. */
export function fileName(name: string): string {
  return name.replace(/[^\w.-]+/g, '-').slice(0, 120)
}

/** CSV by RFC 4180 with the columns of the first row. Text that a spreadsheet would run as a formula is quoted as text. */
export function csv(rows: Row[]): string {
  const columns = Object.keys(rows[0] ?? {})
  const lines = [columns.map(cell), ...rows.map((row) => columns.map((column) => cell(row[column])))]
  return `\ufeff${lines.map((line) => line.join(',')).join('\r\n')}\r\n`
}

function cell(value: Cell): string {
  if (value === null || value === undefined) return ''
  if (typeof value !== 'string') return String(value)
  const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe
}

/** A chart of the page as an SVG file with its present styles. */
export function standaloneSvg(svg: SVGSVGElement): string {
  const copy = svg.cloneNode(true) as SVGSVGElement
  const originals = [svg, ...svg.querySelectorAll<SVGElement>('*')]
  const rgb = colours()
  ;[copy, ...copy.querySelectorAll<SVGElement>('*')].forEach((element, i) => {
    const style = getComputedStyle(originals[i] ?? svg)
    for (const name of STYLES) {
      const value = style.getPropertyValue(name)
      element.setAttribute(name, name === 'fill' || name === 'stroke' ? rgb(value) : value)
    }
    element.removeAttribute('class')
    element.removeAttribute('style')
  })
  const { width, height } = svg.getBoundingClientRect()
  const background = document.createElementNS('http://www.w3.org/2000/svg', 'rect')
  background.setAttribute('width', '100%')
  background.setAttribute('height', '100%')
  background.setAttribute('fill', rgb(getComputedStyle(document.documentElement).backgroundColor))
  copy.prepend(background)
  copy.setAttribute('xmlns', 'http://www.w3.org/2000/svg')
  copy.setAttribute('width', String(width))
  copy.setAttribute('height', String(height))
  copy.setAttribute('viewBox', `0 0 ${width} ${height}`)
  return new XMLSerializer().serializeToString(copy)
}

/** A function that converts any CSS colour to rgb, which every program reads. */
function colours(): (colour: string) => string {
  const canvas = document.createElement('canvas')
  canvas.width = canvas.height = 1
  const context = canvas.getContext('2d', { willReadFrequently: true })
  const known = new Map<string, string>()
  return (colour) => {
    if (!context || colour === 'none' || colour.startsWith('url')) return colour
    const found = known.get(colour)
    if (found) return found
    context.clearRect(0, 0, 1, 1)
    context.fillStyle = colour
    context.fillRect(0, 0, 1, 1)
    const [red, green, blue, alpha = 255] = context.getImageData(0, 0, 1, 1).data
    const plain = alpha === 0 ? 'none' : `rgb(${red}, ${green}, ${blue})`
    known.set(colour, plain)
    return plain
  }
}

/** A chart of the page as a PNG at twice its size. Rejects where the browser makes no image. */
export async function pngOf(svg: SVGSVGElement): Promise<Blob> {
  const { width, height } = svg.getBoundingClientRect()
  const image = new Image()
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(standaloneSvg(svg))}`
  await image.decode()
  const canvas = document.createElement('canvas')
  canvas.width = Math.round(width * PNG_SCALE)
  canvas.height = Math.round(height * PNG_SCALE)
  canvas.getContext('2d')?.drawImage(image, 0, 0, canvas.width, canvas.height)
  return new Promise((resolve, reject) =>
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error('The browser made no image.'))), 'image/png'),
  )
}
