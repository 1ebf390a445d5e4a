import { useSyncExternalStore } from 'react'

export const THEMES = ['system', 'light', 'dark'] as const
export type Theme = (typeof THEMES)[number]

/** The chosen theme, remembered by the browser; `system` follows the operating system. The style sheet reads it. */
export function useTheme(): [Theme, (theme: Theme) => void] {
  return [useSyncExternalStore(subscribe, read), write]
}

function read(): Theme {
  const chosen = document.documentElement.dataset['theme']
  return chosen === 'light' || chosen === 'dark' ? chosen : 'system'
}

function write(theme: Theme): void {
  if (theme === 'system') delete document.documentElement.dataset['theme']
  else document.documentElement.dataset['theme'] = theme
  try {
    if (theme === 'system') localStorage.removeItem('theme')
    else localStorage.setItem('theme', theme)
  } catch {
    // Where the browser forbids storage, the choice lasts as long as the page.
  }
  window.dispatchEvent(new Event('themechange'))
}

function subscribe(notify: () => void): () => void {
  window.addEventListener('themechange', notify)
  return () => window.removeEventListener('themechange', notify)
}
