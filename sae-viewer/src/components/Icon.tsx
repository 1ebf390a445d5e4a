const PATHS = {
  check: 'M3 8.5 6.5 12 13 4.5',
  cross: 'M4 4l8 8M12 4l-8 8',
  left: 'M10 3 5 8l5 5',
  right: 'M6 3l5 5-5 5',
  down: 'M3.5 6 8 10.5 12.5 6',
  search: 'M7 2.5a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9ZM10.3 10.3 14 14',
  alert: 'M8 2 14.5 13.5h-13ZM8 6.5v3.2M8 11.4v.4',
  info: 'M8 1.8a6.2 6.2 0 1 1 0 12.4A6.2 6.2 0 0 1 8 1.8ZM8 7.2v4M8 4.7v.4',
  sun: 'M8 5a3 3 0 1 1 0 6 3 3 0 0 1 0-6ZM8 1v1.5M8 13.5V15M1 8h1.5M13.5 8H15M3 3l1.1 1.1M11.9 11.9 13 13M13 3l-1.1 1.1M4.1 11.9 3 13',
  moon: 'M13 9.6A5.6 5.6 0 0 1 6.4 3a5.6 5.6 0 1 0 6.6 6.6Z',
  screen: 'M2 3h12v8H2ZM5.5 14h5M8 11v3',
  up: 'M3.5 10.5 8 6l4.5 4.5',
  dice: 'M2.5 2.5h11v11h-11ZM5.5 5.4v.2M10.5 5.4v.2M8 7.9v.2M5.5 10.4v.2M10.5 10.4v.2',
  word: 'M2.5 12.5 6 3.5l3.5 9M3.8 9.5h4.4M11 12.5h3',
  link: 'M6.8 9.2 9.2 6.8M7 4.6l1-1a2.9 2.9 0 0 1 4.2 4.1l-1.1 1M9 11.4l-1 1a2.9 2.9 0 0 1-4.2-4.1l1.1-1',
  star: 'M8 1.8 9.9 5.9l4.4.5-3.3 3 .9 4.4L8 11.6l-3.9 2.2.9-4.4-3.3-3 4.4-.5Z',
  save: 'M8 2v8M4.8 7 8 10.2 11.2 7M2.5 13.5h11',
} as const

export type IconName = keyof typeof PATHS

/** A line icon, hidden from screen readers: a word stands beside it or names its button. */
export function Icon({ name, className = '', size = 16 }: { name: IconName; className?: string; size?: number }) {
  return (
    <svg
      aria-hidden="true"
      viewBox="0 0 16 16"
      width={size}
      height={size}
      fill="none"
      stroke="currentColor"
      strokeWidth="1.6"
      strokeLinecap="round"
      strokeLinejoin="round"
      className={`shrink-0 ${className}`}
    >
      <path d={PATHS[name]} />
    </svg>
  )
}
