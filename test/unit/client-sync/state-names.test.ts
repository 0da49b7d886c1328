import { expect, test } from 'vitest';
import { StateNames } from '../../../src/client-sync/state-names.ts';

const unstable = { useStateAfter: true, target: '/sync?org.matrix.msc4222.use_state_after=true' };
const stable = { useStateAfter: true, target: '/sync?a=1&use_state_after=true&b=2' };
const without = { useStateAfter: false, target: '/sync' };

test('state after the timeline is given as the homeserver did last, to the same user who asks in the same way', () => {
  const names = new StateNames();
  expect(names.expected('@a:b', unstable)).toBe('state');
  names.saw('@a:b', unstable, 'org.matrix.msc4222.state_after');
  expect(names.expected('@a:b', unstable)).toBe('org.matrix.msc4222.state_after');
  expect(names.expected('@a:b', stable)).toBe('state');
  expect(names.expected('@c:d', unstable)).toBe('state');
  names.saw('@a:b', unstable, 'state');
  expect(names.expected('@a:b', unstable)).toBe('state');
});

test('nobody gets it who has not asked, whatever the homeserver does', () => {
  const names = new StateNames();
  names.saw('@a:b', without, 'state_after');
  names.saw('@a:b', stable, 'state_after');
  expect(names.expected('@a:b', without)).toBe('state');
  expect(names.expected('@a:b', stable)).toBe('state_after');
});
