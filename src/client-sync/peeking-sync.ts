import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Device } from '../device-peeks/device-peeks.ts';
import { CORS_HEADERS } from '../forward/matrix-answer.ts';
import type { RawForwarder, WholeResponse } from '../forward/raw-forwarder.ts';
import { decoded } from './content-coding.ts';
import type { DeviceSections } from './device-sections.ts';
import type { HeldSyncs } from './held-syncs.ts';
import type { Joins } from './joins.ts';
import { type Additions, ownAnswer, roomsIn, spliceSync } from './splice.ts';
import type { SyncRace } from './sync-race.ts';
import { callerOf, type SyncRequest } from './sync-request.ts';
import { deviceHash, type TokenMode, wrapToken } from './sync-token.ts';
import type { UpstreamPolls } from './upstream-polls.ts';

export interface PeekingSyncDeps {
  readonly forwarder: RawForwarder;
  readonly race: SyncRace;
  readonly joins: Joins;
  readonly polls: UpstreamPolls;
  readonly held: HeldSyncs;
  /** How our part rides on the homeserver's tokens. */
  readonly tokenMode: () => TokenMode;
}

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
    const { polls, held, race } = this.#deps;
    const key = pollKey(device, request);
    let joined = true;
    const poll = polls.join(key, request.timeoutMs > 0, (signal) => {
      joined = false;
      return this.#poll(req, request, signal, started);
    });
    const hash = deviceHash(device.userId, device.deviceId);
    const read = readPositions(request, hash);
    held.hold(res, null);
    try {
      const outcome = await race.run({
        caller: callerOf(req, null),
        res,
        request,
        device,
        read,
        poll,
        joined,
      });
      if (outcome.kind === 'answer') {
        polls.take(key, poll);
        await this.#merged(res, outcome.answer, outcome.sections, read, device, hash);
        return;
      }
      polls.leave(key, poll);
      if (outcome.kind === 'ending') this.#endNow(res, request);
      else if (outcome.kind === 'news') {
        send(res, 200, JSON_HEADERS, ownAnswer(outcome.token, this.#additions(outcome.sections, hash)));
      }
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
