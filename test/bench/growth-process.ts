import { DeviceSectionReader } from '../../src/client-sync/device-sections.ts';
import { RoomSections } from '../../src/client-sync/room-sections.ts';
import { parseFilter } from '../../src/client-view/filter.ts';
import { NOBODY_IGNORED } from '../../src/client-view/ignored-users.ts';
import { InboundPeeks } from '../../src/inbound-peeks/inbound-peeks.ts';
import { StateAt } from '../../src/rooms/state-at.ts';
import type { StoredEvent } from '../../src/store/store.ts';
import { bigRoom, MEMBER_SERVERS } from './big-room.ts';
import { serveParent } from './child.ts';
import { createPeekingSide, SERVER_NAME, warmKeys } from './peeking-side.ts';

export interface GrowthQuestion {
  readonly what: 'state events of the room' | 'other peeked rooms' | 'idle peeking servers';
  /** Make it so large, and open the room; without it: what does an event cost? */
  readonly grow?: number;
}

const PEER = 'there.test';
const TRANSACTIONS = 4;
const PDUS = 50;
const DEVICE = { userId: '@who:bench.test', deviceId: 'PHONE' };

const side = await createPeekingSide(':memory:');
const { store, clock, homeserver, logger, feed, devicePeeks } = side;
const rooms = new RoomSections(store, homeserver, new StateAt(store, homeserver, clock), clock);
const sections = new DeviceSectionReader(store, rooms, logger);
const filter = parseFilter({ room: { state: { lazy_load_members: true } } });
const room = bigRoom(PEER, 20);
const { roomId } = room;
let read: ReadonlyMap<number, number> | null = null;

async function section(): Promise<void> {
  const asked = {
    read,
    homeserverToken: null,
    filter,
    fullState: false,
    filterText: null,
    ignored: NOBODY_IGNORED,
    stateName: 'state' as const,
  };
  ({ read } = await sections.read(await devicePeeks.of(DEVICE), asked));
}

async function grow({ what, grow: size = 1 }: GrowthQuestion): Promise<void> {
  await warmKeys(side, [PEER, ...MEMBER_SERVERS]);
  await feed.seed(roomId, () => feed.read(room.peekAnswer(), roomId, PEER));
  if (what === 'state events of the room') await moreState(size - room.currentState.length);
  if (what === 'other peeked rooms') for (let n = 1; n < size; n++) await otherRoom(n);
  if (what === 'idle peeking servers') await idlePeers(size);
  await devicePeeks.begin(DEVICE, roomId);
  await section();
}

async function moreState(count: number): Promise<void> {
  const events = Array.from({ length: Math.max(0, count) }, (_, n) =>
    member(`@more${n}:${MEMBER_SERVERS[n % 50]}`),
  );
  await store.replicas.add(roomId, events, []);
}

function member(userId: string): StoredEvent {
  const pdu = {
    type: 'm.room.member',
    state_key: userId,
    sender: userId,
    content: { membership: 'join' },
    depth: 5,
  };
  return { eventId: `$${userId}`, json: JSON.stringify(pdu), type: pdu.type, stateKey: userId };
}

/** A room that another device peeks, in which nothing happens. */
async function otherRoom(n: number): Promise<void> {
  const other = `!other${n}:${PEER}`;
  await store.logs.open({
    roomId: other,
    roomVersion: '10',
    feed: 'remote',
    openedAt: clock.now(),
    firstPosition: 1,
  });
  await store.replicas.add(other, [member(`@one:${PEER}`)], []);
  await devicePeeks.begin({ userId: `@user${n}:bench.test`, deviceId: 'D' }, other);
}

async function idlePeers(count: number): Promise<void> {
  const now = clock.now();
  const resident = `!resident:${SERVER_NAME}`;
  await store.logs.open({
    roomId: resident,
    roomVersion: '10',
    feed: 'resident',
    openedAt: now,
    firstPosition: 1,
  });
  for (let n = 0; n < count; n++) {
    const peek = { server: `peer${n}.test`, roomId: resident, peekId: 'p', createdAt: now, renewedAt: now };
    await store.inboundPeeks.put({ ...peek, expiresAt: now + 1e9 }, 0, 100);
  }
  const inbound = new InboundPeeks({
    ...side,
    owner: 'bench',
    limits: { maxPerServer: 100, maxTotal: 1e6, renewalIntervalMs: 3_600_000 },
    openLog: () => Promise.reject(new Error('nobody asks')),
    released: () => {},
  });
  await inbound.start();
}

/** CPU µs for each event of some transactions, each read by a device. */
async function cost(): Promise<number> {
  const transactions = Array.from({ length: TRANSACTIONS }, () =>
    Array.from({ length: PDUS }, (_, n) =>
      room.message(`message ${n}`, `@user${n % 20}:${MEMBER_SERVERS[n % 20]}`),
    ),
  );
  const before = process.threadCpuUsage();
  for (const events of transactions) {
    const pdus = events.map(({ pdu }) => pdu);
    const taken = await feed.ingest(roomId, PEER, pdus);
    if (taken.some(({ error }) => error !== null)) throw new Error('an event was not taken');
    await section();
  }
  const { user, system } = process.threadCpuUsage(before);
  return (user + system) / (TRANSACTIONS * PDUS);
}

serveParent(0, async (question) => {
  const asked = question as GrowthQuestion;
  if (asked.grow === undefined) return cost();
  await grow(asked);
  return 0;
});
