import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Device, DevicePeeks } from '../device-peeks/device-peeks.ts';
import { CORS_HEADERS } from '../forward/matrix-answer.ts';
import type { RawForwarder, WholeResponse } from '../forward/raw-forwarder.ts';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import type { Metrics } from '../platform/metrics.ts';
import type { RoomWakes } from '../rooms/room-wakes.ts';
import { type Store, StoreDownError } from '../store/store.ts';
import { decoded } from './content-coding.ts';
import type { DeviceFilters } from './device-filters.ts';
import type { DeviceSectionReader, DeviceSections } from './device-sections.ts';
import type { HeldSyncs } from './held-syncs.ts';
import type { Joins } from './joins.ts';
import type { PeekLedger } from './peek-ledger.ts';
import { type Additions, ownAnswer, roomsIn, spliceSync } from './splice.ts';
import { callerOf, type SyncRequest } from './sync-request.ts';
import { deviceHash, type TokenMode, wrapToken } from './sync-token.ts';
import type { UpstreamPoll, UpstreamPolls } from './upstream-polls.ts';

export interface PeekingSyncDeps {
  readonly forwarder: RawForwarder;
  readonly store: Store;
  readonly devicePeeks: DevicePeeks;
  readonly sections: DeviceSectionReader;
  readonly filters: DeviceFilters;
  readonly ledger: PeekLedger;
  readonly joins: Joins;
  readonly wakes: RoomWakes;
  readonly polls: UpstreamPolls;
  readonly held: HeldSyncs;
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly logger: Logger;
  /** How our part rides on the homeserver's tokens. */
  readonly tokenMode: () => TokenMode;
}

/** What our failures may cost a client whose homeserver has answered. */
const STORE_GRACE_MS = 50;

/**
 * The `/sync` of a device that peeks: the homeserver's poll and the rooms' logs race, and what comes first is
 * answered. Whatever goes wrong on our side, the homeserver's own answer goes out.
 */
export class PeekingSync {
  readonly #deps: PeekingSyncDeps;

  constructor(deps: PeekingSyncDeps) {
    this.#deps = deps;
  }

  /** Rejects only where the homeserver gave no answer and nothing was written. */
  async answer(
    req: IncomingMessage,
    res: ServerResponse,
    request: SyncRequest,
    device: Device,
    started?: { answer: Promise<WholeResponse>; abort: AbortController },
  ): Promise<void> {
    const { polls, held } = this.#deps;
    const key = pollKey(device, request);
    const poll = polls.join(key, (signal) => this.#poll(req, request, signal, started));
    const hash = deviceHash(device.userId, device.deviceId);
    const read = readPositions(request, hash);
    held.hold(res, null);
    try {
      const sections = await this.#race(req, res, request, device, read, poll);
      if (res.destroyed) return polls.leave(key, poll);
      if (sections === 'ending') {
        polls.leave(key, poll);
        return this.#endNow(res, request);
      }
      if (poll.arrived === null && sections !== null) {
        polls.leave(key, poll);
        const token = request.homeserverToken as string;
        return send(res, 200, JSON_HEADERS, ownAnswer(token, this.#additions(sections, hash)));
      }
      const answer = await poll.answer;
      polls.take(key, poll);
      await this.#merged(res, answer, sections, read, device, hash);
    } catch (error) {
      polls.leave(key, poll);
      throw error;
    } finally {
      held.letGo(res);
    }
  }

  #poll(
    req: IncomingMessage,
    request: SyncRequest,
    signal: AbortSignal,
    started?: { answer: Promise<WholeResponse>; abort: AbortController },
  ): Promise<WholeResponse> {
    if (started !== undefined) {
      signal.addEventListener('abort', () => started.abort.abort(), { once: true });
      return started.answer;
    }
    return this.#deps.forwarder.fetchWhole(req, {
      path: request.target,
      dropAcceptEncoding: true,
      maxBytes: Number.MAX_SAFE_INTEGER,
      signal,
    });
  }

  /**
   * Waits until there is something to answer with. Our sections; null when they cannot be had (the
   * homeserver's answer stands alone); `'ending'` when the process ends first.
   */
  async #race(
    req: IncomingMessage,
    res: ServerResponse,
    request: SyncRequest,
    device: Device,
    read: ReadonlyMap<number, number> | null,
    poll: UpstreamPoll,
  ): Promise<DeviceSections | null | 'ending'> {
    const { ledger, sections, filters, devicePeeks, logger, held } = this.#deps;
    try {
      const filter = await filters.of(callerOf(req, null), device.userId, request.filter);
      await this.#unlessStoreHangs(ledger.book(device, read), poll);
      const sectionRequest = { ...request, read, filter };
      // These wait for the homeserver whatever the logs hold.
      const together = request.homeserverToken === null || request.fullState || request.timeoutMs === 0;
      for (;;) {
        const changed = this.#change(device, await devicePeeks.of(device));
        try {
          const ours = await this.#unlessStoreHangs(
            sections.read(await devicePeeks.of(device), sectionRequest),
            poll,
          );
          if (poll.arrived !== null || (!together && hasNews(ours))) return ours;
          const arrived = poll.answer.then(() => 'arrived' as const);
          const waiting = [arrived, gone(res), ending(held.ending), ...(together ? [] : [changed.happened])];
          const first = await Promise.race(waiting);
          if (first === 'ending') return 'ending';
          if (first !== 'changed') return ours;
        } finally {
          changed.stop();
        }
      }
    } catch (error) {
      if (poll.arrived === null) await poll.answer;
      logger.warn({ reason: String(error) }, 'peeked rooms are left out of a sync: the store cannot be read');
      return null;
    }
  }

  /** Once the homeserver has answered, a store that does not is not waited for; slow reads of rooms are. */
  async #unlessStoreHangs<T>(work: Promise<T>, poll: UpstreamPoll): Promise<T> {
    const { store, clock } = this.#deps;
    let done = false;
    const hangs = poll.answer.then(async () => {
      while (!done) {
        const answered = store.ping().then(() => true);
        const late = clock.sleep(STORE_GRACE_MS).then(() => false);
        if (!(await Promise.race([answered, late])))
          throw new StoreDownError('the store does not answer in time');
        await late;
      }
      return work;
    });
    try {
      return await Promise.race([work, hangs]);
    } finally {
      done = true;
      hangs.catch(() => undefined);
    }
  }

  #change(device: Device, peeks: readonly { readonly roomId: string }[]) {
    const { wakes, store } = this.#deps;
    let stop = () => {};
    const happened = new Promise<'changed'>((resolve) => {
      const wake = () => resolve('changed');
      const stopRooms = wakes.watch(
        peeks.map(({ roomId }) => roomId),
        wake,
      );
      const stopDevice = store.subscribe((notice) => {
        if (
          notice.kind === 'device' &&
          notice.userId === device.userId &&
          notice.deviceId === device.deviceId
        )
          wake();
      });
      stop = () => {
        stopRooms();
        stopDevice();
      };
    });
    return { happened, stop };
  }

  async #merged(
    res: ServerResponse,
    answer: WholeResponse,
    sections: DeviceSections | null,
    read: ReadonlyMap<number, number> | null,
    device: Device,
    hash: string,
  ): Promise<void> {
    const body = answer.status === 200 ? decoded(answer) : null;
    const rooms = body === null ? null : roomsIn(body);
    if (body === null || rooms === null) return send(res, answer.status, answer.rawHeaders, answer.body);
    const ours = sections === null ? null : await this.#deps.joins.yieldTo(rooms, sections, read, device);
    const additions = ours === null ? this.#unread(read, hash) : this.#additions(ours, hash);
    const spliced = spliceSync(body, additions);
    if (spliced === null) return send(res, answer.status, answer.rawHeaders, answer.body);
    send(res, 200, answer.rawHeaders, spliced.body);
  }

  #additions(sections: Pick<DeviceSections, 'peek' | 'leave' | 'read'>, device: string): Additions {
    const entries = (rooms: ReadonlyMap<string, unknown>) =>
      [...rooms].map(([roomId, section]) => [roomId, JSON.stringify(section)] as const);
    return {
      nextBatch: (token) =>
        sections.read.size === 0
          ? token
          : wrapToken(token, { device, peeks: sections.read }, this.#deps.tokenMode()),
      peek: entries(sections.peek)
        .map(([roomId, json]) => `${JSON.stringify(roomId)}:${json}`)
        .join(','),
      leave: new Map(entries(sections.leave)),
    };
  }

  /** Nothing of ours but the token's part as it was: what could not be read now is not lost. */
  #unread(read: ReadonlyMap<number, number> | null, device: string): Additions {
    return this.#additions({ peek: new Map(), leave: new Map(), read: new Map(read ?? []) }, device);
  }

  #endNow(res: ServerResponse, request: SyncRequest): void {
    if (request.homeserverToken === null) {
      res.destroy();
      return;
    }
    const ours = request.ours;
    const token =
      ours === null
        ? request.homeserverToken
        : wrapToken(request.homeserverToken, ours, this.#deps.tokenMode());
    send(
      res,
      200,
      [...JSON_HEADERS, 'Connection', 'close'],
      Buffer.from(JSON.stringify({ next_batch: token })),
    );
  }
}

const JSON_HEADERS = [...CORS_HEADERS, 'Content-Type', 'application/json'];

/** Requests with the same key may share one poll: all that decides the homeserver's answer, but not how long it waits. */
function pollKey(device: Device, request: SyncRequest): string {
  return JSON.stringify([
    device.userId,
    device.deviceId,
    request.homeserverToken,
    request.filter,
    request.fullState,
    request.useStateAfter,
  ]);
}

/** What the presented token says of this device's peeks; a part made for another device says nothing. */
function readPositions(request: SyncRequest, device: string): ReadonlyMap<number, number> | null {
  if (request.homeserverToken === null) return null;
  return request.ours?.device === device ? request.ours.peeks : new Map();
}

function hasNews(sections: DeviceSections): boolean {
  return sections.peek.size > 0 || sections.leave.size > 0;
}

function gone(res: ServerResponse): Promise<'gone'> {
  return new Promise((resolve) => {
    if (res.destroyed) resolve('gone');
    else res.once('close', () => resolve('gone'));
  });
}

function ending(signal: AbortSignal): Promise<'ending'> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve('ending');
    else signal.addEventListener('abort', () => resolve('ending'), { once: true });
  });
}

/** The head goes as it was, but for the body's length and coding. */
function send(res: ServerResponse, status: number, rawHeaders: readonly string[], body: Buffer): void {
  const headers: string[] = [];
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = (rawHeaders[i] as string).toLowerCase();
    if (name === 'content-length' || name === 'transfer-encoding') continue;
    headers.push(rawHeaders[i] as string, rawHeaders[i + 1] as string);
  }
  res.writeHead(status, [...headers, 'Content-Length', String(body.byteLength)]);
  res.end(body);
}
