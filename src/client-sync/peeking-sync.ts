import type { IncomingMessage, ServerResponse } from 'node:http';
import { callerOf } from '../client-view/client-request.ts';
import type { IgnoredUsers } from '../client-view/ignored-users.ts';
import type { Device } from '../device-peeks/device-peeks.ts';
import type { UpstreamResponse } from '../forward/fetched-exchange.ts';
import { CORS_HEADERS } from '../forward/matrix-answer.ts';
import type { RawForwarder, WholeResponse } from '../forward/raw-forwarder.ts';
import type { Homeserver } from '../homeserver/homeserver.ts';
import type { ByteRange } from '../matrix/raw-items.ts';
import type { Logger } from '../platform/log.ts';
import { decoded } from './content-coding.ts';
import type { DeviceSections } from './device-sections.ts';
import type { HeldAnswers, Share } from './held-answers.ts';
import { answerNothingNew, type HeldSyncs } from './held-syncs.ts';
import type { Joins } from './joins.ts';
import { knownState } from './known-state.ts';
import { type Additions, ownAnswer, roomsIn, type SyncRooms, spliceSync } from './splice.ts';
import { AnswerTooLarge, holdWhole, streamOf, withNextBatch } from './streamed-answer.ts';
import type { RaceOutcome, SyncRace } from './sync-race.ts';
import type { SyncRequest } from './sync-request.ts';
import { deviceHash, type OurPart, type TokenMode, wrapToken } from './sync-token.ts';
import type { PollKey, UpstreamPolls } from './upstream-polls.ts';

/** A request to the homeserver that was begun before it was known who asks. */
export interface StartedSync {
  readonly response: Promise<UpstreamResponse>;
  readonly abort: AbortController;
}

export interface PeekingSyncDeps {
  readonly forwarder: RawForwarder;
  readonly homeserver: Pick<Homeserver, 'forget'>;
  readonly race: SyncRace;
  readonly joins: Joins;
  readonly polls: UpstreamPolls;
  readonly held: HeldSyncs;
  readonly answers: HeldAnswers;
  readonly ignoredUsers: Pick<IgnoredUsers, 'sawSync'>;
  readonly logger: Logger;
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
    started?: StartedSync,
  ): Promise<void> {
    const { polls, held, answers, race, homeserver, forwarder } = this.#deps;
    const key = pollKey(device, request);
    const hash = deviceHash(device.userId, device.deviceId);
    const read = readPositions(request, hash);
    const keepPart = this.#unread(read, hash).nextBatch;
    const letOut = answers.enter(key.device);
    if (letOut === null) return this.#streamed(req, res, request, keepPart, started);
    let joined = true;
    // What was begun before it was known who asks goes on beside an earlier poll: it may have been computed first.
    const patient = request.timeoutMs > 0 && started === undefined;
    const poll = polls.join(key, patient, (signal) => {
      joined = false;
      return this.#poll(req, request, key.device, signal, started);
    });
    if (joined && started !== undefined) {
      started.response.catch(() => undefined);
      started.abort.abort();
    }
    const copy = answers.open(key.device);
    const place = held.hold(res, null);
    let taken = false;
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
        if (outcome.answer.status === 401) homeserver.forget(callerOf(req, null));
        await this.#merged(res, outcome, read, device, hash, copy);
        taken = await isWritten(res);
      } else if (outcome.kind === 'ending') answerNothingNew(res, request.since);
      else if (outcome.kind === 'news') {
        send(res, ownResponse(ownAnswer(outcome.token, this.#additions(outcome.sections, hash))));
      }
    } catch (error) {
      if (!(error instanceof AnswerTooLarge) || res.headersSent || res.destroyed) throw error;
      const response = error.claim();
      if (response === null) await this.#streamed(req, res, request, keepPart);
      else await forwarder.pipe(await withNextBatch(response, keepPart), res);
    } finally {
      if (taken) polls.take(poll);
      else polls.leave(poll);
      copy.end();
      held.letGo(place);
      letOut();
    }
  }

  #poll(
    req: IncomingMessage,
    request: SyncRequest,
    device: string,
    signal: AbortSignal,
    started?: StartedSync,
  ): Promise<WholeResponse> {
    const share = this.#deps.answers.open(device);
    signal.addEventListener('abort', () => share.end(), { once: true });
    if (started !== undefined) signal.addEventListener('abort', () => started.abort.abort(), { once: true });
    const options = { path: request.target, dropAcceptEncoding: true, signal };
    const response = started?.response ?? this.#deps.forwarder.fetch(req, options);
    return response.then((answer) => holdWhole(answer, share));
  }

  /** The homeserver's answer as it comes, with nothing of ours but the token's part as it was. */
  async #streamed(
    req: IncomingMessage,
    res: ServerResponse,
    request: SyncRequest,
    keepPart: (token: string) => string,
    started?: StartedSync,
  ): Promise<void> {
    const { forwarder, held, homeserver } = this.#deps;
    const abort = started?.abort ?? new AbortController();
    const gone = () => abort.abort();
    res.once('close', gone);
    if (res.destroyed) gone();
    const place = held.hold(res, req.url ?? request.target);
    try {
      const options = { path: request.target, dropAcceptEncoding: true, signal: abort.signal };
      const response = await (started?.response ?? forwarder.fetch(req, options));
      if (response.status === 401) homeserver.forget(callerOf(req, null));
      const answer = await withNextBatch(response, keepPart);
      res.off('close', gone);
      await forwarder.pipe(answer, res);
    } finally {
      held.letGo(place);
    }
  }

  /**
   * The homeserver's answer to a request of which nobody can say whose it is: nothing is added, and our part of
   * the token it came with stays in the next one.
   */
  async relay(
    req: IncomingMessage,
    res: ServerResponse,
    response: UpstreamResponse,
    ours: OurPart,
  ): Promise<void> {
    const nextBatch = (token: string) => wrapToken(token, ours, this.#deps.tokenMode());
    const share = this.#deps.answers.open(req.headers.authorization ?? '');
    try {
      const answer = await holdWhole(response, share);
      const plain = answer.status === 200 ? decoded(answer) : null;
      const spliced = plain && spliceSync(plain.body, { nextBatch, peek: '', leave: new Map() });
      send(res, plain && spliced ? { ...plain, body: spliced.body } : answer);
      await isWritten(res);
    } catch (error) {
      const large = error instanceof AnswerTooLarge ? error.claim() : null;
      if (large === null) throw error;
      await this.#deps.forwarder.pipe(await withNextBatch(large, nextBatch), res);
    } finally {
      share.end();
    }
  }

  async #merged(
    res: ServerResponse,
    outcome: Extract<RaceOutcome, { kind: 'answer' }>,
    read: ReadonlyMap<number, number> | null,
    device: Device,
    hash: string,
    copy: Share,
  ): Promise<void> {
    const { answer } = outcome;
    if (!copy.grow(answer.body.byteLength)) {
      const kept = await withNextBatch(streamOf(answer), this.#unread(read, hash).nextBatch);
      await this.#deps.forwarder.pipe(kept, res);
      return;
    }
    const plain = answer.status === 200 ? decoded(answer) : null;
    const rooms = plain === null ? null : roomsIn(plain.body);
    if (plain === null || rooms === null) return send(res, answer);
    this.#deps.ignoredUsers.sawSync(device.userId, plain.body);
    const ours = await this.#yielded(rooms, outcome, read, device);
    const additions =
      ours === null
        ? this.#unread(read, hash)
        : { ...this.#additions(ours, hash), cuts: await repeatedState(plain.body, rooms, ours) };
    const spliced = spliceSync(plain.body, additions);
    send(res, spliced === null ? answer : { ...plain, body: spliced.body });
  }

  /** Our sections without the homeserver's rooms; null when there are none, or the store fails at it. */
  async #yielded(
    rooms: SyncRooms,
    outcome: Extract<RaceOutcome, { kind: 'answer' }>,
    read: ReadonlyMap<number, number> | null,
    device: Device,
  ): Promise<DeviceSections | null> {
    try {
      const sections = rooms.stateName === null ? outcome.sections : await outcome.named(rooms.stateName);
      return sections && (await this.#deps.joins.yieldTo(rooms, sections, read, device));
    } catch (error) {
      this.#deps.logger.warn({ reason: String(error) }, 'a join could not be booked; the next sync does it');
      return null;
    }
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
}

/** What the state of the rooms that are joined with this answer repeats for the device that peeked them. */
async function repeatedState(body: Buffer, rooms: SyncRooms, { known }: DeviceSections) {
  const cuts: ByteRange[] = [];
  for (const [roomId, told] of known) {
    if (rooms.join.has(roomId)) cuts.push(...(await knownState(body, roomId, told)));
  }
  return cuts;
}

function ownResponse(body: Buffer): WholeResponse {
  return { status: 200, rawHeaders: [...CORS_HEADERS, 'Content-Type', 'application/json'], body };
}

function pollKey({ userId, deviceId }: Device, request: SyncRequest): PollKey {
  return {
    device: JSON.stringify([userId, deviceId]),
    since: request.homeserverToken,
    rest: JSON.stringify([request.filter, request.fullState, request.useStateAfter]),
  };
}

/** Whether an answer that was ended left whole; false where the client went away before that. */
function isWritten(res: ServerResponse): Promise<boolean> {
  if (res.writableFinished || res.destroyed) return Promise.resolve(res.writableFinished);
  return new Promise((resolve) => res.once('close', () => resolve(res.writableFinished)));
}

/** What the presented token says of this device's peeks; a part made for another device says nothing. */
function readPositions(request: SyncRequest, device: string): ReadonlyMap<number, number> | null {
  if (request.homeserverToken === null) return null;
  return request.ours?.device === device ? request.ours.peeks : new Map();
}

/** The head goes as it was, but for the body's length. */
function send(res: ServerResponse, { status, rawHeaders, body }: WholeResponse): void {
  const headers: string[] = [];
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = (rawHeaders[i] as string).toLowerCase();
    if (name === 'content-length' || name === 'transfer-encoding') continue;
    headers.push(rawHeaders[i] as string, rawHeaders[i + 1] as string);
  }
  res.writeHead(status, [...headers, 'Content-Length', String(body.byteLength)]);
  res.end(body);
}
