/**
 * A process to be killed: does random things to a store and says on stdout what was acknowledged.
 *
 *     node store-load.ts <data directory or redis:// URL> <seed> <run>
 *
 * Each line is one acknowledged operation as JSON (see `Acknowledged`), written before the next one begins.
 */
import { writeSync } from 'node:fs';
import { pino } from 'pino';
import { systemClock } from '../../src/platform/clock.ts';
import { openStore } from '../../src/store/open-store.ts';
import { seededRandom } from './seeded-random.ts';

export type Acknowledged =
  | {
      readonly did: 'append';
      readonly eventIds: string[];
      readonly positions: number[];
      readonly token: string;
    }
  | { readonly did: 'peek' | 'unpeek' | 'forget'; readonly instance: number }
  | { readonly did: 'advance'; readonly position: number }
  | { readonly did: 'renew'; readonly renewAt: number };

export const LOAD = {
  roomId: '!load:example.org',
  userId: '@load:example.org',
  deviceId: 'LOAD',
  server: 'load.example',
  peekId: 'loadload',
  firstPosition: 1_000_000,
} as const;

async function main(target: string, seed: number, run: number): Promise<void> {
  const redisUrl = target.startsWith('redis') ? target : null;
  const logger = pino({ level: 'silent' });
  const store = await openStore({ redisUrl, dataDir: target, clock: systemClock, logger });
  const random = seededRandom(seed + run);
  const { roomId, userId, deviceId, server, peekId, firstPosition } = LOAD;
  await store.logs.open({ roomId, roomVersion: '10', feed: 'remote', openedAt: 1, firstPosition });
  const times = { createdAt: 1, renewedAt: 1, expiresAt: 1 };
  await store.inboundPeeks.put({ server, roomId, peekId, ...times }, firstPosition, 1);

  // Unacknowledged operations of earlier runs may have happened: begin above what they may have used.
  let serial = run * 1_000_000;
  const acknowledge = (operation: Acknowledged) => writeSync(1, `${JSON.stringify(operation)}\n`);
  const live: number[] = [];
  const ended: number[] = [];
  for (;;) {
    serial += 1;
    const choice = random.below(6);
    if (choice <= 1) {
      const eventIds = Array.from({ length: 1 + random.below(4) }, (_, n) => `$${serial}-${n}`);
      const entries = eventIds.map((eventId) => ({
        ...{ eventId, json: '{"body":"x"}'.repeat(1 + random.below(200)), type: 'm.room.message' },
        ...{ stateKey: null, replaces: null, applied: false, shown: true, receivedAt: serial },
      }));
      const token = `s${serial}`;
      const appended = await store.logs.append(roomId, { entries, feedToken: token });
      acknowledge({ did: 'append', eventIds, positions: appended.map((entry) => entry.position), token });
    } else if (choice === 2) {
      const peek = { userId, deviceId, roomId: `!${serial}`, instance: serial, createdAt: 1, seenAt: 1 };
      const rest = { dormantSince: null, initial: null, delivered: false, ended: null };
      await store.devicePeeks.add({ ...peek, ...rest }, 1_000_000);
      live.push(serial);
      acknowledge({ did: 'peek', instance: serial });
    } else if (choice === 3 && live.length > 0) {
      const [instance = 0] = live.splice(random.below(live.length), 1);
      const tombstone = { at: 1, reason: 'unpeek', position: 1 } as const;
      await store.devicePeeks.end({ userId, deviceId, instance }, tombstone);
      ended.push(instance);
      acknowledge({ did: 'unpeek', instance });
    } else if (choice === 4 && ended.length > 0) {
      const [instance = 0] = ended.splice(random.below(ended.length), 1);
      await store.devicePeeks.remove({ userId, deviceId, instance });
      acknowledge({ did: 'forget', instance });
    } else if (choice === 5) {
      const position = firstPosition + serial;
      await store.inboundPeeks.advance(server, roomId, position);
      acknowledge({ did: 'advance', position });
    } else {
      const times = { renewalIntervalMs: 1, renewAt: serial, heardAt: 1, begunAt: 1 };
      await store.outboundPeeks.put({
        roomId,
        server,
        peekId,
        candidates: [],
        ...times,
        how: 'put',
        phase: 'live',
      });
      acknowledge({ did: 'renew', renewAt: serial });
    }
  }
}

if (import.meta.main) {
  const [target = '', seed, run] = process.argv.slice(2);
  await main(target, Number(seed), Number(run));
}
