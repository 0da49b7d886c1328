import { DeviceSectionReader } from '../../src/client-sync/device-sections.ts';
import { RoomSections } from '../../src/client-sync/room-sections.ts';
import { parseFilter } from '../../src/client-view/filter.ts';
import { NOBODY_IGNORED } from '../../src/client-view/ignored-users.ts';
import { StateAt } from '../../src/rooms/state-at.ts';
import { MEMBER_SERVERS } from './big-room.ts';
import { serveParent } from './child.ts';
import { LoopWatch } from './loop-watch.ts';
import { createPeekingSide, warmKeys } from './peeking-side.ts';

/** What a first peek into a room took, in ms. */
export interface Peeked {
  /** Until `POST /peek` would be answered, and until the first section of a client that loads members lazily. */
  readonly answered: number;
  readonly readable: number;
  /** Until all of the room was verified and stored. */
  readonly whole: number;
  readonly events: number;
  /** CPU time of the process, workers too, until all was verified and stored. */
  readonly cpu: number;
  /** The longest stall of the event loop, and the most that was computed here in one go. */
  readonly stall: number;
  readonly work: number;
}

/** The peeking side: everything between a client's `POST /peek` and the peeked server. */
const side = await createPeekingSide();
const { store, homeserver, clock, logger, feed, outbound, devicePeeks } = side;
const rooms = new RoomSections(store, homeserver, new StateAt(store, homeserver, clock), clock);
const sections = new DeviceSectionReader(store, rooms, logger);

async function peek(roomId: string, server: string): Promise<Peeked> {
  await warmKeys(side, [server, ...MEMBER_SERVERS]);
  const device = { userId: '@who:bench.test', deviceId: 'PHONE' };
  const watch = new LoopWatch();
  const cpuBefore = process.cpuUsage();
  const began = performance.now();
  await outbound.subscribe(roomId, [server]);
  await devicePeeks.begin(device, roomId);
  const answered = performance.now() - began;
  const filter = parseFilter({ room: { state: { lazy_load_members: true } } });
  const asked = {
    read: null,
    homeserverToken: null,
    filter,
    fullState: false,
    filterText: null,
    ignored: NOBODY_IGNORED,
    stateName: 'state' as const,
  };
  const { peek: section } = await sections.read(await devicePeeks.of(device), asked);
  if (JSON.stringify([...section]).length < 10_000) throw new Error('The first section is empty');
  const readable = performance.now() - began;
  while (feed.isCompleting(roomId)) await new Promise((resolve) => setTimeout(resolve, 5));
  const whole = performance.now() - began;
  const { user, system } = process.cpuUsage(cpuBefore);
  const { stall, work } = watch.end();
  const events = (await store.replicas.state(roomId)).length;
  return { answered, readable, whole, events, cpu: (user + system) / 1000, stall, work };
}

serveParent(0, (question) => {
  const { roomId, server } = question as { roomId: string; server: string };
  return peek(roomId, server);
});
