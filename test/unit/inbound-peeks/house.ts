import { setImmediate as nextTurn } from 'node:timers/promises';
import { pino } from 'pino';
import { onTestFinished } from 'vitest';
import { InboundPeeks, type InboundPeeksDeps } from '../../../src/inbound-peeks/inbound-peeks.ts';
import type { RoomAnswer } from '../../../src/inbound-peeks/room-answer.ts';
import type { JsonObject } from '../../../src/matrix/json.ts';
import { createMetrics } from '../../../src/platform/metrics.ts';
import { systemRandom } from '../../../src/platform/random.ts';
import { newEntry } from '../../../src/rooms/log-entries.ts';
import { openStore } from '../../../src/store/open-store.ts';
import type { RoomLog, Store } from '../../../src/store/store.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { ScriptedHomeserver } from './scripted-homeserver.ts';
import { ScriptedServers } from './scripted-servers.ts';

export const ROOM = '!room:here.test';
export const PEER = 'there.test';
export const HOUR = 3_600_000;
export const LIMITS = { maxPerServer: 1000, maxTotal: 10_000, renewalIntervalMs: HOUR };

/** Resolves when nothing is sent any more: the store writes cursors down when the event loop comes around. */
async function atRest(servers: ScriptedServers): Promise<void> {
  for (let sent = -1; sent !== servers.sent.length; ) {
    sent = servers.sent.length;
    await nextTurn();
    await nextTurn();
  }
}

/** An answer that has been written. */
export function bodyOf(answer: RoomAnswer): JsonObject {
  const body = Buffer.concat(answer.chunks);
  answer.release();
  if (body.length !== answer.bytes)
    throw new Error(`${body.length} bytes where ${answer.bytes} were announced`);
  return JSON.parse(body.toString()) as JsonObject;
}

/** Inbound peeks on a real store, between a scripted homeserver and scripted peers. */
export class House {
  readonly clock: ManualClock;
  readonly homeserver = new ScriptedHomeserver();
  readonly servers: ScriptedServers;
  readonly metrics = createMetrics();
  readonly released: string[] = [];
  readonly store: Store;
  readonly peeks: InboundPeeks;
  #events = 0;
  #processes = 0;

  static async open(limits: Partial<InboundPeeksDeps['limits']> = {}): Promise<House> {
    const servers = new ScriptedServers();
    const clock = new ManualClock(undefined, () => atRest(servers));
    const logger = pino({ level: 'silent' });
    const store = await openStore({ redisUrl: null, dataDir: ':memory:', clock, logger });
    const house = new House(store, clock, servers, limits);
    house.homeserver.addRoom(ROOM);
    await house.peeks.start();
    onTestFinished(async () => {
      await house.peeks.stop();
      await store.close();
    });
    return house;
  }

  constructor(
    store: Store,
    clock: ManualClock,
    servers: ScriptedServers,
    limits: Partial<InboundPeeksDeps['limits']>,
  ) {
    this.servers = servers;
    this.store = store;
    this.clock = clock;
    this.peeks = this.another(limits);
  }

  /** A further object on the same store, as after a restart or in another process. */
  another(limits: Partial<InboundPeeksDeps['limits']> = {}): InboundPeeks {
    return new InboundPeeks({
      store: this.store,
      homeserver: this.homeserver,
      remote: this.servers,
      clock: this.clock,
      random: systemRandom,
      logger: pino({ level: 'silent' }),
      metrics: this.metrics,
      serverName: 'here.test',
      owner: `process ${this.#processes++}`,
      limits: { ...LIMITS, ...limits },
      openLog: (roomId) => this.openLog(roomId),
      released: (roomId) => void this.released.push(roomId),
    });
  }

  openLog(roomId: string): Promise<RoomLog> {
    const log = { roomId, roomVersion: '10', feed: 'resident', openedAt: 0, firstPosition: 100 } as const;
    return this.store.logs.open(log);
  }

  async put(server = PEER, peekId = 'peek1', roomId = ROOM): Promise<JsonObject> {
    return bodyOf(await this.peeks.put(server, roomId, peekId, ['1', '10', '12']));
  }

  async snapshotOnly(server = PEER, versions = ['10']): Promise<JsonObject> {
    return bodyOf(await this.peeks.snapshotOnly(server, ROOM, versions));
  }

  /** Events as the feed appends them; a text stands for a message. */
  async append(roomId: string, events: readonly (string | JsonObject)[], close = false): Promise<void> {
    const entries = events.map((event) => {
      const fields = typeof event === 'string' ? { type: 'm.room.message', content: { body: event } } : event;
      const eventId = `$${this.#events++}`;
      return newEntry({ eventId, pdu: { room_id: roomId, ...fields }, replaces: null }, this.clock.now(), {
        shown: true,
        applied: true,
      });
    });
    await this.store.logs.append(roomId, { entries, ...(close && { close: { reason: 'visibility' } }) });
  }

  member(userId: string, membership: string): JsonObject {
    return { type: 'm.room.member', state_key: userId, content: { membership } };
  }

  acl(...deny: string[]): JsonObject {
    return { type: 'm.room.server_acl', state_key: '', content: { allow: ['*'], deny } };
  }

  /** Lets what is under way come to rest, and `ms` pass. */
  settle(ms = 0): Promise<void> {
    return this.clock.advance(ms);
  }
}
