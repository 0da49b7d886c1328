import { isObject, type Json, type JsonObject } from '../../matrix/json.ts';
import { roomVersion } from '../../matrix/room-versions.ts';
import { compileServerAcl } from '../../matrix/server-acl.ts';
import { keysFor } from '../../remote-servers/remote-servers.ts';
import { pduOf } from '../../rooms/log-entries.ts';
import { verifyMany } from '../../rooms/verify-many.ts';
import type { RoomLog } from '../../store/store.ts';
import { completeReplica, withRest } from '../answers/complete-replica.ts';
import { openFromAnswer } from '../answers/open-remote.ts';
import { type LargeReading, type PeekAnswer, readPeekAnswer } from '../answers/peek-answer.ts';
import { gatherKeys, KEYS_OF_EVENTS_WITHIN_MS } from '../authorisation/answer-keys.ts';
import { authSourceAt } from '../authorisation/auth-source.ts';
import { RoomQueues } from '../room-queues.ts';
import { becomeRemote } from './become-remote.ts';
import { compareState } from './compare-state.ts';
import { type Ingested, Intake, type IntakeDeps, noteDropped } from './intake.ts';
import { reseed } from './reseed.ts';

export type RemoteFeedDeps = IntakeDeps;

export type { Ingested };

/**
 * Writes the logs of rooms that a peeked server sends us.
 *
 * An event is taken when it is authentic and its own auth events authorise it. As long as the graph is a line, each
 * state event becomes current in its turn. What the current state denies is held, and that and every fork with state
 * in it mark the room: it is compared with the peeked server, whose word on what is current counts.
 */
export class RemoteFeed {
  readonly #deps: RemoteFeedDeps;
  /** Events of a room go in one after the other. */
  readonly #queues = new RoomQueues();
  readonly #completing = new Set<string>();
  readonly #intake: Intake;

  constructor(deps: RemoteFeedDeps) {
    this.#deps = deps;
    this.#intake = new Intake(deps);
  }

  /**
   * Reads what `server` answered to `PUT /peek`. What it names as authorising and does not give is asked for there.
   * Rejects with `PeekAnswerUnusable`.
   */
  read(
    body: JsonObject,
    roomId: string,
    server: string,
    signal?: AbortSignal,
    large?: LargeReading,
  ): Promise<PeekAnswer> {
    const { clock, remote } = this.#deps;
    return readPeekAnswer(body, roomId, {
      server,
      keys: keysFor(server, this.#deps.keys),
      clock,
      auth: authSourceAt(remote, server, roomId),
      rejected: ({ reason, message }) => noteDropped(this.#deps, roomId, server, reason, 1, message),
      ...(signal === undefined ? {} : { signal }),
      ...(large === undefined ? {} : { large }),
    });
  }

  /**
   * Opens the log and replica of a room from a peeked server's answer. A log that is open already goes on.
   * Events of the room that arrive while the answer is being obtained wait for it, and come after it; where the
   * answer is large they wait for all of it, though the log can be read as soon as this resolves.
   */
  seed(roomId: string, obtain: () => Promise<PeekAnswer>): Promise<RoomLog> {
    const { promise, resolve, reject } = Promise.withResolvers<RoomLog>();
    const seeding = this.#queues.run(roomId, async () => {
      const answer = await obtain();
      try {
        await this.#seed(roomId, answer, resolve);
      } finally {
        answer.rest?.end();
      }
    });
    seeding.catch(reject);
    return promise;
  }

  /** Calls `opened` as soon as the log can be read. */
  async #seed(roomId: string, answer: PeekAnswer, opened: (log: RoomLog) => void): Promise<void> {
    const { store } = this.#deps;
    const held = await store.logs.get(roomId);
    if (held !== null && held.closed === null) {
      const whole = await withRest(answer);
      if (held.feed === 'resident') await becomeRemote(this.#deps, held, whole);
      else await reseed(this.#deps, held, whole);
      await this.#intake.retryHeld(held, answer.rules);
      opened((await store.logs.get(roomId)) ?? held);
      return;
    }
    this.#intake.forget(roomId);
    if (held !== null) await store.logs.drop(roomId);
    this.#completing.add(roomId);
    try {
      const log = await openFromAnswer(this.#deps, roomId, answer);
      opened(log);
      if (answer.rest !== null) await completeReplica(this.#deps, log, answer, answer.rest);
    } finally {
      this.#completing.delete(roomId);
    }
  }

  /**
   * Compares the state of a room with that of the server it is peeked through, without asking for the whole of it,
   * and tries again what was held. False where that cannot be done so, or events may be missing. Rejects with `StoreDownError` alone.
   */
  compare(roomId: string, server: string): Promise<boolean> {
    return this.#queues.run(roomId, async () => {
      const log = await this.#deps.store.logs.get(roomId);
      const rules = log === null ? undefined : roomVersion(log.roomVersion);
      if (log === null || rules === undefined || log.closed !== null || log.feed !== 'remote') return false;
      if (!log.needsCatchUp || !this.#intake.isUnsettledOnly(roomId)) return false;
      if (!(await compareState(this.#deps, this.#intake, log, rules, server))) return false;
      await this.#intake.retryHeld(log, rules);
      return true;
    });
  }

  /** The room can be read, but the rest of a large answer is still being verified. */
  isCompleting(roomId: string): boolean {
    return this.#completing.has(roomId);
  }

  /** Does something with a room's log while none of its events are being taken in. */
  meanwhile<T>(roomId: string, work: () => Promise<T>): Promise<T> {
    return this.#queues.run(roomId, work);
  }

  /**
   * Takes the events of one room out of an authenticated transaction of `origin`. Every one is verified and
   * authorised whoever sent it; what fails costs itself and what it would have authorised. When this resolves the
   * others are stored, all in one step.
   */
  ingest(roomId: string, origin: string, events: readonly Json[]): Promise<Ingested[]> {
    return this.#queues.run(roomId, async () => {
      const { store, clock } = this.#deps;
      const keys = keysFor(origin, this.#deps.keys);
      const log = await store.logs.get(roomId);
      const rules = log === null ? undefined : roomVersion(log.roomVersion);
      if (log === null || rules === undefined || log.closed !== null || log.feed !== 'remote') return [];
      if (!(await this.#aclAdmits(roomId, origin))) {
        noteDropped(this.#deps, roomId, origin, 'acl', events.length);
        return [];
      }
      try {
        const ring = await gatherKeys(events, keys, clock, undefined, KEYS_OF_EVENTS_WITHIN_MS);
        let isIncomplete = false;
        const verified = await verifyMany(events, { roomId, rules }, ring, (error) => {
          isIncomplete ||= error.isForWantOfKey;
          noteDropped(this.#deps, roomId, origin, error.reason, 1, error.message);
        });
        const outcomes = await this.#intake.take(log, origin, rules, verified);
        // What could not be verified now is among the newest events when the room is asked for.
        if (isIncomplete) await this.#intake.markIncomplete(roomId);
        return outcomes;
      } catch (error) {
        this.#intake.missed(roomId);
        throw error;
      }
    });
  }

  async #aclAdmits(roomId: string, origin: string): Promise<boolean> {
    const [acl] = await this.#deps.store.replicas.stateOf(roomId, [['m.room.server_acl', '']]);
    if (acl === undefined) return true;
    const { content } = pduOf(acl);
    return compileServerAcl(isObject(content) ? content : {})(origin);
  }
}
