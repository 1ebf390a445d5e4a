/**
 * Where the viewer is: in the folder of its page, under any host name and any prefix of the path. The server writes
 * that folder into the page's `<base>`. Addresses inside the viewer begin with `/` and are relative to the folder.
 */

const folder = new URL('.', document.baseURI)

/** The folder's path without its last slash: empty at the root of a host. */
export const BASE_PATH = folder.pathname.slice(0, -1)

/** The whole address of a page or an endpoint, given its address inside the viewer. */
export function wholeAddress(address: string): string {
  return folder.href.slice(0, -1) + address
}

/** The address inside the viewer of a path of this host. */
export function innerPath(path: string): string {
  return path.startsWith(`${BASE_PATH}/`) ? path.slice(BASE_PATH.length) : '/'
}
