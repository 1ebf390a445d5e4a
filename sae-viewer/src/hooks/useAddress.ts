import { useMemo } from 'react'
import { navigate, useLocationProperty } from 'wouter/use-browser-location'
import { BASE_PATH, innerAddress } from '../base'
import { readAddress, writeAddress, type Address, type ReadAddress } from '../lib/address'

/** The address as state, which `go` changes. */
export function useAddress(): ReadAddress {
  const address = useLocationProperty(innerAddress)
  return useMemo(() => {
    const [path = '/', ...search] = address.split('?')
    return readAddress(path, search.join('?'))
  }, [address])
}

/** Shows `address`. With `replace`, Back does not undo the change: for typing and for what opens in place. */
export function go(address: Address, replace = false): void {
  navigate(BASE_PATH + writeAddress(address), { replace })
}
