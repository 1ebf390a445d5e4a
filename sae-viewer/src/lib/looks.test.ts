import { expect, test } from 'vitest'
import { NO_LOOKS, readLooks, withLook } from './looks'

test('each feature and headline counts once', () => {
  const once = withLook(withLook(NO_LOOKS, 'features', '12'), 'headlines', 'ab')
  expect(once).toEqual({ features: ['12'], headlines: ['ab'] })
  expect(withLook(once, 'features', '12')).toBe(once)
  expect(readLooks(JSON.stringify(withLook(once, 'features', '7')))).toEqual({ features: ['12', '7'], headlines: ['ab'] })
})

test.each([null, '', '{', '[]', 'null', '{"features": "12"}', '{"features": [{}], "headlines": 3}'])('%j holds no looks', (stored) => {
  expect(readLooks(stored)).toEqual(NO_LOOKS)
})
