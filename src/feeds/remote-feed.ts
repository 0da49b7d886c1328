import { isObject, type Json, type JsonObject } from '../matrix/json.ts';
import type { RoomVersionRules } from '../matrix/room-versions.ts';
import { roomVersion } from '../matrix/room-versions.ts';
import { compileServerAcl } from '../matrix/server-acl.ts';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import type { Metrics } from '../platform/metrics.ts';
import type { KeyRing, RemoteServers } from '../remote-servers/remote-servers.ts';
import { pduOf } from '../rooms/log-entries.ts';
import type { EventRejected, VerifiedEvent } from '../rooms/verify-event.ts';
import { verifyMany } from '../rooms/verify-many.ts';
import type { RoomLog, Store } from '../store/store.ts';
import { Admission } from './admission.ts';
import { gatherKeys, KEYS_OF_EVENTS_WITHIN_MS } from './answer-keys.ts';
import { appendRemote } from './append-remote.ts';
import { authSourceAt } from './auth-source.ts';
import { deniedInBatch } from './authorise-batch.ts';
import { becomeRemote } from './become-remote.ts';
import { completeReplica, withRest } from './complete-replica.ts';
import { CurrentState } from './current-state.ts';
import { GapFiller } from './gap-filler.ts';
import { HeldEvents } from './held-events.ts';
import { openFromAnswer } from './open-remote.ts';
import { type LargeReading, type PeekAnswer, readPeekAnswer } from './peek-answer.ts';
import { RejectedEvents } from './rejected-events.ts';
import { reseed } from './reseed.ts';
import { parentsFirst, RoomGraph } from './room-graph.ts';
import { RoomQueues } from './room-queues.ts';

export interface RemoteFeedDeps {
  readonly store: Store;
  readonly remote: RemoteServers;
  readonly keys: KeyRing;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** The servers of a room's members, most members first: who may have what its peeked server does not give. */
  readonly otherServers?: (roomId: string) => Promise<readonly string[]>;
}

/** What became of one PDU of a transaction. */
export type Ingested = { readonly eventId: string; readonly error: string | null };

type DropReason = EventRejected['reason'] | 'acl' | 'state';

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
  readonly #held = new HeldEvents();
  readonly #rejected = new RejectedEvents();

  constructor(deps: RemoteFeedDeps) {
    this.#deps = deps;
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
    const { keys, clock, remote } = this.#deps;
    return readPeekAnswer(body, roomId, {
      keys,
      clock,
      auth: authSourceAt(remote, server, roomId),
      rejected: ({ reason, message }) => this.#drop(roomId, server, reason, 1, message),
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
      await this.#retryHeld(held, answer.rules);
      opened((await store.logs.get(roomId)) ?? held);
      return;
    }
    this.#held.release(roomId);
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
      const { store, keys, clock } = this.#deps;
      const log = await store.logs.get(roomId);
      const rules = log === null ? undefined : roomVersion(log.roomVersion);
      if (log === null || rules === undefined || log.closed !== null || log.feed !== 'remote') return [];
      if (!(await this.#aclAdmits(roomId, origin))) {
        this.#drop(roomId, origin, 'acl', events.length);
        return [];
      }
      const ring = await gatherKeys(events, keys, clock, undefined, KEYS_OF_EVENTS_WITHIN_MS);
      const verified = await verifyMany(events, { roomId, rules }, ring, (error) => {
        this.#drop(roomId, origin, error.reason, 1, error.message);
      });
      return this.#take(log, origin, rules, verified);
    });
  }

  async #take(
    log: RoomLog,
    origin: string,
    rules: RoomVersionRules,
    verified: readonly VerifiedEvent[],
  ): Promise<Ingested[]> {
    const { store } = this.#deps;
    const { roomId } = log;
    const known = await store.logs.positions(
      roomId,
      verified.map(({ eventId }) => eventId),
    );
    const isHeld = (id: string) => known.has(id) || this.#held.has(roomId, id);
    const sent = [...new Map(verified.map((event) => [event.eventId, event])).values()];
    const fresh = sent.filter(({ eventId }) => !isHeld(eventId));
    const denied =
      fresh.length === 0 ? new Map<string, string>() : await this.#admit(log, origin, rules, fresh);
    return sent.map(({ eventId }) => ({ eventId, error: denied.get(eventId) ?? null }));
  }

  /** Brings new events into the log, after what it lacks before them. Returns why some are not taken, by event ID. */
  async #admit(
    log: RoomLog,
    origin: string,
    rules: RoomVersionRules,
    fresh: readonly VerifiedEvent[],
  ): Promise<Map<string, string>> {
    const { store, remote, clock, metrics, logger } = this.#deps;
    const { roomId } = log;
    const { found, unlinked } = await this.#gapFiller(log, origin, rules, fresh).fill(origin);
    const events = parentsFirst([...found, ...fresh], rules);
    const state = await CurrentState.for(store, roomId, events, rules);
    const source = authSourceAt(remote, origin, roomId);
    const verify = this.#verifier(log, origin, rules);
    const batch = { store, clock, roomId, rules, state, rejected: this.#rejected, source, verify };
    const denied = await deniedInBatch(batch, events);
    for (const reason of denied.values()) this.#drop(roomId, origin, 'auth', 1, reason);

    const graph = await RoomGraph.of(store, log, rules);
    const admission = new Admission({ store, roomId, rules }, state, graph, clock.now());
    let isHolding = false;
    for (const event of events) {
      if (denied.has(event.eventId)) continue;
      if (admission.isClosed) break;
      if (admission.allowedNow(event).allowed) await admission.take(event, 'in-turn');
      else if (this.#hold(roomId, origin, event)) isHolding = true;
      else denied.set(event.eventId, 'the current state of the room does not allow it');
    }
    const gap = events.some(({ eventId }) => unlinked.has(eventId) && !denied.has(eventId));
    const needsCatchUp = gap || isHolding || admission.unsettled;
    if (admission.entries.length > 0) {
      await appendRemote(this.#deps, roomId, admission, { gap, ...(needsCatchUp ? { needsCatchUp } : {}) });
    } else if (needsCatchUp) await store.logs.setFeed(roomId, { needsCatchUp });
    if (gap) {
      metrics.gaps.inc({ outcome: 'left' });
      logger.info(
        { room: roomId, server: origin },
        'events of a peeked room are missing; its state is read anew',
      );
    } else if (found.length > 0) metrics.gaps.inc({ outcome: 'filled' });
    return denied;
  }

  #gapFiller(log: RoomLog, origin: string, rules: RoomVersionRules, fresh: readonly VerifiedEvent[]) {
    const { store, remote, clock, logger, otherServers = async () => [] } = this.#deps;
    const { roomId } = log;
    return new GapFiller(
      {
        store,
        remote,
        clock,
        otherServers,
        verify: this.#verifier(log, origin, rules),
        failed: (server, error) =>
          logger.warn({ room: roomId, server, reason: String(error) }, 'a gap could not be filled'),
        isKnown: (id) => this.#held.has(roomId, id) || this.#rejected.has(roomId, id),
      },
      log,
      rules,
      fresh,
    );
  }

  /** Checks what servers were asked for. */
  #verifier({ roomId }: RoomLog, origin: string, rules: RoomVersionRules) {
    const { keys, clock } = this.#deps;
    return async (events: readonly Json[], signal: AbortSignal): Promise<VerifiedEvent[]> => {
      const ring = await gatherKeys(events, keys, clock, signal, KEYS_OF_EVENTS_WITHIN_MS);
      const drop = (error: EventRejected) => this.#drop(roomId, origin, error.reason, 1, error.message);
      return verifyMany(events, { roomId, rules }, ring, drop, signal);
    };
  }

  /** An event that is authorised, yet not by the state we think current: one of the two may be wrong. */
  #hold(roomId: string, origin: string, event: VerifiedEvent): boolean {
    const { metrics, logger } = this.#deps;
    if (!this.#held.hold(roomId, { event, origin })) {
      this.#drop(roomId, origin, 'state', 1, 'too many events of the room are held');
      return false;
    }
    metrics.heldEvents.inc({ outcome: 'held' });
    logger.info(
      { room: roomId, server: origin },
      'an event is held: its auth events allow it and the current state does not; the state is compared',
    );
    return true;
  }

  /** After the state was compared with the peeked server's: what that still denies is dropped. */
  async #retryHeld(log: RoomLog, rules: RoomVersionRules): Promise<void> {
    const { store, clock, metrics } = this.#deps;
    const { roomId } = log;
    const held = new Map(this.#held.release(roomId).map((each) => [each.event.eventId, each]));
    for (const eventId of (await store.logs.positions(roomId, [...held.keys()])).keys()) {
      held.delete(eventId);
      metrics.heldEvents.inc({ outcome: 'taken' });
    }
    if (held.size === 0) return;
    const events = parentsFirst(
      [...held.values()].map(({ event }) => event),
      rules,
    );
    const state = await CurrentState.for(store, roomId, events, rules);
    const graph = await RoomGraph.of(store, log, rules);
    const admission = new Admission({ store, roomId, rules }, state, graph, clock.now());
    for (const event of events) {
      const verdict = admission.allowedNow(event);
      metrics.heldEvents.inc({ outcome: verdict.allowed ? 'taken' : 'dropped' });
      if (verdict.allowed) await admission.take(event, 'in-turn');
      else this.#drop(roomId, held.get(event.eventId)?.origin ?? '', 'state', 1, verdict.reason);
    }
    if (admission.entries.length > 0) await appendRemote(this.#deps, roomId, admission, { gap: false });
  }

  async #aclAdmits(roomId: string, origin: string): Promise<boolean> {
    const [acl] = await this.#deps.store.replicas.stateOf(roomId, [['m.room.server_acl', '']]);
    if (acl === undefined) return true;
    const { content } = pduOf(acl);
    return compileServerAcl(isObject(content) ? content : {})(origin);
  }

  #drop(roomId: string, server: string, reason: DropReason, count: number, why?: string): void {
    this.#deps.metrics.eventsDropped.inc({ reason }, count);
    this.#deps.logger.warn({ room: roomId, server, reason, why }, 'an event was dropped');
  }
}
