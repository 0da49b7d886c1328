import { expect, test, vi } from 'vitest';
import { PeekingServers } from '../../../src/inbound-peeks/peeking-servers.ts';
import { StoreDownError } from '../../../src/store/store.ts';
import { PeekingHouse } from '../../support/peeking-house.ts';

const PEEK = {
  server: 'there.test',
  roomId: '!a:here.test',
  peekId: 'one',
  createdAt: 1,
  renewedAt: 1,
  expiresAt: 2,
};

test('which servers peek is known from the store at start, and kept up with', async () => {
  const { store } = await PeekingHouse.open();
  await store.inboundPeeks.put(PEEK, 1, 10);
  const servers = new PeekingServers(store);
  expect(servers.has('there.test')).toBe(false);
  await servers.start();
  expect(servers.has('there.test')).toBe(true);
  await store.inboundPeeks.put({ ...PEEK, server: 'else.test' }, 1, 10);
  await vi.waitFor(() => expect(servers.has('else.test')).toBe(true));
  await store.inboundPeeks.remove('there.test', PEEK.roomId, 'one');
  await vi.waitFor(() => expect(servers.has('there.test')).toBe(false));
});

test('a store that is down forgets nobody, and is not asked by those who only want to know', async () => {
  const { store } = await PeekingHouse.open();
  await store.inboundPeeks.put(PEEK, 1, 10);
  const servers = new PeekingServers(store);
  await servers.start();
  store.inboundPeeks.ofServer = () => Promise.reject(new StoreDownError('down'));
  await store.inboundPeeks.remove('there.test', PEEK.roomId, 'one');
  await new Promise((resolve) => setTimeout(resolve, 5));
  expect(servers.has('there.test')).toBe(true);
});
