/**
 * Where the viewer is: in the folder of its page, under any host name and any prefix of the path. The server writes
 * that folder into the page's `<base>`. Addresses inside the viewer begin with `/` and are relative to the folder.
 *
 * The page of a shared run has no server that knows such addresses, so they stand behind its `#`.
 */

/** Where a shared run is, as the page says: `#archive` in the page itself, or a file beside it. Undefined with a server. */
export const SHARED = document.querySelector<HTMLMetaElement>('meta[name="run"]')?.content

/** Where a shared run's classifier and SAE are, for the bench. Undefined with a server, and where they are not shared. */
export const SHARED_MODEL = document.querySelector<HTMLMetaElement>('meta[name="model"]')?.content

/** Whether a bench may be offered: a server may have a model, and a shared run may have one beside it. */
export const MAY_HAVE_BENCH = SHARED === undefined || SHARED_MODEL !== undefined

const folder = new URL('.', document.baseURI)

/** What stands before an address inside the viewer, in an address of this host. */
export const BASE_PATH = SHARED === undefined ? folder.pathname.slice(0, -1) : `${location.pathname}${location.search}#`

/** The whole address of a page or an endpoint, given its address inside the viewer. */
export function wholeAddress(address: string): string {
  return SHARED === undefined ? folder.href.slice(0, -1) + address : `${location.href.split('#')[0] ?? ''}#${address}`
}

/** The address inside the viewer that the browser shows. */
export function innerAddress(): string {
  if (SHARED !== undefined) return location.hash.slice(1) || '/'
  const { pathname, search } = location
  return (pathname.startsWith(`${BASE_PATH}/`) ? pathname.slice(BASE_PATH.length) : '/') + search
}
