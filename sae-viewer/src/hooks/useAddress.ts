import { useMemo } from 'react'
import { navigate, usePathname, useSearch } from 'wouter/use-browser-location'
import { BASE_PATH, innerPath } from '../base'
import { readAddress, writeAddress, type Address, type ReadAddress } from '../lib/address'

/** The address as state, which `go` changes. */
export function useAddress(): ReadAddress {
  const path = innerPath(usePathname())
  const search = useSearch()
  return useMemo(() => readAddress(path, search), [path, search])
}

/** Shows `address`. With `replace`, Back does not undo the change: for typing and for what opens in place. */
export function go(address: Address, replace = false): void {
  navigate(BASE_PATH + writeAddress(address), { replace })
}
