import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createContext } from '../../src/app/context.ts';
import { loadConfig } from '../../src/config/config.ts';
import { createListener } from '../../src/forward/listener.ts';
import { encodeBase64 } from '../../src/matrix/base64.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { createLogger } from '../../src/platform/log.ts';
import { systemRandom } from '../../src/platform/random.ts';
import { newEntry } from '../../src/rooms/log-entries.ts';
import { openStore } from '../../src/store/open-store.ts';
import { type BuiltEvent, RoomBuilder } from '../support/room-builder.ts';
import { serve } from './serve.ts';

/** So many devices are to peek, named as the load names its tokens: `peeker0`, `peeker1`, … */
export interface Crowd {
  readonly peekers: number;
}

/** The moment at which an event was there, on the clock that all processes share, in ms. */
export interface Said {
  readonly at: number;
}

/** The whole proxy, as it is built for users, and one remote room in which something can be said. */
const [homeserverUrl = ''] = process.argv.slice(2);
const dataDir = mkdtempSync(join(tmpdir(), 'peek-bench-'));
const keyPath = join(dataDir, 'signing.key');
writeFileSync(keyPath, `ed25519 bench ${encodeBase64(systemRandom.bytes(32))}\n`);
const config = loadConfig({
  PEEK_HOMESERVER_URL: homeserverUrl,
  PEEK_SERVER_NAME: 'bench.test',
  PEEK_SIGNING_KEY_PATH: keyPath,
});
const logger = createLogger('silent');
const store = await openStore({ redisUrl: null, dataDir, clock: systemClock, logger });
const context = createContext(config, { store, clock: systemClock, random: systemRandom, logger });
const room = new RoomBuilder('11', 'there.test', 'crowd');
const { roomId } = room;
await store.logs.open(
  { roomId, roomVersion: '11', feed: 'remote', openedAt: systemClock.now(), firstPosition: 1 },
  { entries: room.messages(20, 'earlier').map(entryOf) },
);
await store.replicas.replace(roomId, room.currentState.map(storedOf), []);
await context.devicePeeks.start();

let peekers = 0;
let said = 0;

async function grow(count: number): Promise<null> {
  for (; peekers < count; peekers++) {
    const device = { userId: `@peeker${peekers}:bench.test`, deviceId: 'D' };
    await context.devicePeeks.begin(device, roomId);
  }
  return null;
}

async function say(): Promise<Said> {
  const entry = entryOf(room.message(`something ${said++}`));
  const at = performance.timeOrigin + performance.now();
  await store.logs.append(roomId, { entries: [entry] });
  return { at };
}

function entryOf({ eventId, pdu }: BuiltEvent) {
  return newEntry({ eventId, pdu, replaces: null }, systemClock.now(), { shown: true, applied: false });
}

function storedOf({ eventId, pdu }: BuiltEvent) {
  const stateKey = typeof pdu.state_key === 'string' ? pdu.state_key : null;
  return { eventId, json: JSON.stringify(pdu), type: String(pdu.type), stateKey };
}

serve(createListener(context.handle), (question) =>
  question === 'say' ? say() : grow((question as Crowd).peekers),
);
