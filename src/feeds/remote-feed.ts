import { isObject, type Json } from '../matrix/json.ts';
import type { RoomVersionRules } from '../matrix/room-versions.ts';
import { roomVersion } from '../matrix/room-versions.ts';
import { compileServerAcl } from '../matrix/server-acl.ts';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import type { Metrics } from '../platform/metrics.ts';
import type { KeyRing, RemoteServers } from '../remote-servers/remote-servers.ts';
import { newEntry, pduOf, stateSlot } from '../rooms/log-entries.ts';
import { firstPosition } from '../rooms/positions.ts';
import type { EventRejected, VerifiedEvent } from '../rooms/verify-event.ts';
import { verifyMany } from '../rooms/verify-many.ts';
import { type RoomLog, type Store, StoreDownError, type StoredEvent } from '../store/store.ts';
import { appendRemote, storedEvent } from './append-remote.ts';
import { becomeRemote } from './become-remote.ts';
import { type Ancestors, fillGap, hasUnknownAncestors, inGraphOrder, lastUnlinked } from './gap-filler.ts';
import type { PeekAnswer } from './peek-answer.ts';
import { RoomQueues } from './room-queues.ts';

export interface RemoteFeedDeps {
  readonly store: Store;
  readonly remote: RemoteServers;
  readonly keys: KeyRing;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
}

/** What became of one PDU of a transaction. */
export type Ingested = { readonly eventId: string; readonly error: string | null };

/**
 * Writes the logs of rooms that a peeked server sends us.
 *
 * The replica is linear: an accepted state event replaces its key in the order of arrival. An event with
 * unknown `prev_events` is preceded by one `get_missing_events`; what stays unknown is an honest gap.
 */
export class RemoteFeed {
  readonly #deps: RemoteFeedDeps;
  /** Events of a room go in one after the other. */
  readonly #queues = new RoomQueues();

  constructor(deps: RemoteFeedDeps) {
    this.#deps = deps;
  }

  /**
   * Opens the log and replica of a room from a peeked server's answer. A log that is open already goes on.
   * Events of the room that arrive while the answer is being obtained wait for it, and come after it.
   */
  seed(roomId: string, obtain: () => Promise<PeekAnswer>): Promise<RoomLog> {
    return this.#queues.run(roomId, async () => {
      const { store, clock } = this.#deps;
      const answer = await obtain();
      const held = await store.logs.get(roomId);
      if (held !== null && held.closed === null) {
        return held.feed === 'resident' ? becomeRemote(this.#deps, held, answer) : this.#goOn(held, answer);
      }
      if (held !== null) await store.logs.drop(roomId);
      await store.replicas.replace(roomId, answer.state.map(storedEvent), answer.authChain.map(storedEvent));
      const now = clock.now();
      const current = new Set(answer.state.map(({ eventId }) => eventId));
      const earlier = new Map(answer.authChain.map((event) => [event.eventId, event]));
      const entries = answer.recent.map((event) =>
        newEntry({ ...event, replaces: replacedOf(event, earlier) }, now, {
          shown: true,
          applied: current.has(event.eventId),
        }),
      );
      return store.logs.open(
        {
          roomId,
          roomVersion: answer.roomVersion,
          feed: 'remote',
          openedAt: now,
          firstPosition: firstPosition(now),
        },
        { entries },
      );
    });
  }

  /** Does something with a room's log while none of its events are being taken in. */
  meanwhile<T>(roomId: string, work: () => Promise<T>): Promise<T> {
    return this.#queues.run(roomId, work);
  }

  /**
   * A log that nobody fed for a while goes on with what the room shows now: its newest events, and the state
   * that changed meanwhile. What lies between is a gap, if the newest events do not lead back to the log.
   */
  async #goOn(log: RoomLog, answer: PeekAnswer): Promise<RoomLog> {
    const { store } = this.#deps;
    const { roomId } = log;
    const old = new Map((await store.replicas.state(roomId)).map((event) => [slotOf(event), event]));
    const changed = answer.state.filter(
      (event) => old.get(slotOf(storedEvent(event)))?.eventId !== event.eventId,
    );
    const news = [...new Map([...changed, ...answer.recent].map((event) => [event.eventId, event])).values()];
    const held = await store.logs.positions(
      roomId,
      news.map(({ eventId }) => eventId),
    );
    const fresh = inGraphOrder(news.filter(({ eventId }) => !held.has(eventId)));
    const recent = new Set(answer.recent.map(({ eventId }) => eventId));
    const gap = await hasUnknownAncestors(
      store,
      log,
      fresh.filter(({ eventId }) => recent.has(eventId)),
      answer.rules,
      recent,
    );
    await store.replicas.add(roomId, answer.state.map(storedEvent), answer.authChain.map(storedEvent));
    const current = new Set(answer.state.map(({ eventId }) => eventId));
    await appendRemote(this.#deps, log, fresh, answer.rules, { gap, current, old, needsCatchUp: false });
    return (await store.logs.get(roomId)) ?? log;
  }

  /**
   * Takes the events of one room out of an authenticated transaction of `origin`, in their order. Every one is
   * verified whoever sent it; what fails costs itself alone. When this resolves they are stored.
   */
  ingest(roomId: string, origin: string, events: readonly Json[]): Promise<Ingested[]> {
    return this.#queues.run(roomId, async () => {
      const { store, keys } = this.#deps;
      const log = await store.logs.get(roomId);
      const rules = log === null ? undefined : roomVersion(log.roomVersion);
      if (log === null || rules === undefined || log.closed !== null || log.feed !== 'remote') return [];
      if (!(await this.#aclAdmits(roomId, origin))) {
        this.#drop(roomId, origin, 'acl', events.length);
        return [];
      }
      const outcomes: Ingested[] = [];
      const verified = await verifyMany(events, { roomId, rules }, keys, (error) => {
        this.#drop(roomId, origin, error.reason, 1, error.message);
      });
      for (const event of verified) {
        const error = await this.#admit(log.roomId, origin, event, rules);
        outcomes.push({ eventId: event.eventId, error });
      }
      return outcomes;
    });
  }

  async #admit(
    roomId: string,
    origin: string,
    event: VerifiedEvent,
    rules: RoomVersionRules,
  ): Promise<string | null> {
    const { store, metrics, logger } = this.#deps;
    const log = await store.logs.get(roomId);
    if (log === null || log.closed !== null) return 'the room is no longer peeked';
    if ((await store.logs.positions(roomId, [event.eventId])).size > 0) return null;
    const ancestors = await this.#ancestors(log, origin, event, rules);
    const chain = [...ancestors.missing, event];
    const known = new Set([...ancestors.older, ...chain.map(({ eventId }) => eventId)]);
    const gap = await lastUnlinked(store, log, chain, rules, known);
    await appendRemote(this.#deps, log, gap === -1 ? chain : chain.slice(gap), rules, {
      gap: gap !== -1,
      ...(gap === -1 ? {} : { needsCatchUp: true }),
    });
    if (gap !== -1) {
      metrics.gaps.inc({ outcome: 'left' });
      logger.info(
        { room: roomId, server: origin },
        'events of a peeked room are missing; its state is read anew',
      );
    } else if (ancestors.missing.length > 0) metrics.gaps.inc({ outcome: 'filled' });
    return null;
  }

  /** What the log lacks before `event`, as far as its sender has it. */
  async #ancestors(
    log: RoomLog,
    origin: string,
    event: VerifiedEvent,
    rules: RoomVersionRules,
  ): Promise<Ancestors> {
    const nothing: Ancestors = { missing: [], older: [] };
    if (!(await hasUnknownAncestors(this.#deps.store, log, [event], rules, new Set()))) return nothing;
    const rejected = (error: EventRejected) => this.#drop(log.roomId, origin, error.reason, 1);
    try {
      return await fillGap({ ...this.#deps, rejected }, origin, log, event, rules);
    } catch (error) {
      if (error instanceof StoreDownError) throw error;
      this.#deps.logger.warn(
        { room: log.roomId, server: origin, reason: String(error) },
        'a gap could not be filled',
      );
      return nothing;
    }
  }

  async #aclAdmits(roomId: string, origin: string): Promise<boolean> {
    const [acl] = await this.#deps.store.replicas.stateOf(roomId, [['m.room.server_acl', '']]);
    if (acl === undefined) return true;
    const { content } = pduOf(acl);
    return compileServerAcl(isObject(content) ? content : {})(origin);
  }

  #drop(
    roomId: string,
    server: string,
    reason: EventRejected['reason'] | 'acl',
    count: number,
    why?: string,
  ): void {
    this.#deps.metrics.eventsDropped.inc({ reason }, count);
    this.#deps.logger.warn({ room: roomId, server, reason, why }, 'an event was dropped');
  }
}

function slotOf(event: StoredEvent): string {
  return stateSlot(event.type, event.stateKey ?? '');
}

/**
 * What a seeded state event replaced, where its auth events tell: a membership, power level or join rule
 * names the one before it. Null where they do not.
 */
function replacedOf(event: VerifiedEvent, earlier: ReadonlyMap<string, VerifiedEvent>): string | null {
  const auth = Array.isArray(event.pdu.auth_events) ? event.pdu.auth_events : [];
  for (const id of auth) {
    const candidate = earlier.get(String(Array.isArray(id) ? id[0] : id));
    if (candidate?.pdu.type === event.pdu.type && candidate.pdu.state_key === event.pdu.state_key) {
      return candidate.eventId;
    }
  }
  return null;
}
