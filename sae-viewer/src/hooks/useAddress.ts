import { useMemo } from 'react'
import { navigate, usePathname, useSearch } from 'wouter/use-browser-location'
import { readAddress, writeAddress, type Address, type ReadAddress } from '../lib/address'

/** The address as state; `go` changes it. */
export function useAddress(): ReadAddress {
  const path = usePathname()
  const search = useSearch()
  return useMemo(() => readAddress(path, search), [path, search])
}

/** Show `address`. `replace` for what Back should not undo: typing, opening in place. */
export function go(address: Address, replace = false): void {
  navigate(writeAddress(address), { replace })
}
