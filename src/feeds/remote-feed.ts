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
import { closingReason } from '../rooms/readable.ts';
import type { EventRejected, VerifiedEvent } from '../rooms/verify-event.ts';
import { verifyMany } from '../rooms/verify-many.ts';
import type { NewLogEntry, RoomLog, Store, StoredEvent } from '../store/store.ts';
import { fillGap, unknownAncestors } from './gap-filler.ts';
import { type PeekAnswer, readableSince } from './peek-answer.ts';
import { redactedInReplica } from './replica-redaction.ts';
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
      if (held !== null && held.closed !== null) await store.logs.drop(roomId);
      await store.replicas.replace(roomId, answer.state.map(storedEvent), answer.authChain.map(storedEvent));
      if (held !== null && held.closed === null) return this.#goOn(held, answer);
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

  /** A log that nobody fed for a while goes on with what the room shows now; what lies between is a gap. */
  async #goOn(log: RoomLog, answer: PeekAnswer): Promise<RoomLog> {
    const { store } = this.#deps;
    const appended = await this.#append(log, answer.recent, answer.rules);
    const first = appended[0];
    if (log.needsCatchUp) {
      if (first !== undefined) await store.logs.prune(log.roomId, first.position);
      await store.logs.setFeed(log.roomId, { needsCatchUp: false });
    }
    return (await store.logs.get(log.roomId)) ?? log;
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
      if (log === null || rules === undefined || log.closed !== null) return [];
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
    let ancestors: VerifiedEvent[] = [];
    if ((await unknownAncestors(store, log, event, rules, new Set())).length > 0) {
      try {
        ancestors = await fillGap(
          { ...this.#deps, rejected: (error) => this.#drop(roomId, origin, error.reason, 1) },
          origin,
          log,
          event,
          rules,
        );
      } catch (error) {
        logger.warn({ room: roomId, server: origin, reason: String(error) }, 'a gap could not be filled');
      }
    }
    const arriving = new Set(ancestors.map(({ eventId }) => eventId));
    const unknown = await unknownAncestors(store, log, event, rules, arriving);
    const appended = await this.#append(log, [...ancestors, event], rules);
    const newest = appended.find((entry) => entry.eventId === event.eventId);
    if (unknown.length > 0 && newest !== undefined) {
      metrics.gaps.inc({ outcome: 'left' });
      await store.logs.prune(roomId, newest.position);
    }
    return null;
  }

  /** Appends verified events, state into the replica; stops at the event that closes the room. */
  async #append(log: RoomLog, events: readonly VerifiedEvent[], rules: RoomVersionRules) {
    const { store, clock, metrics } = this.#deps;
    const now = clock.now();
    const visibility = await this.#current(log.roomId, 'm.room.history_visibility', '');
    const entries: NewLogEntry[] = [];
    const superseded: StoredEvent[] = [];
    const replaced = new Map<string, string>();
    let close: { reason: string } | undefined;
    for (const event of events) {
      const shown = readableSince([event], visibility).length > 0 || closingReason(event.pdu) !== null;
      const stateKey = typeof event.pdu.state_key === 'string' ? event.pdu.state_key : null;
      let replaces: string | null = null;
      if (stateKey !== null) {
        const slot = stateSlot(event.pdu.type, stateKey);
        const before = await this.#stored(log.roomId, event.pdu.type, stateKey);
        replaces = replaced.get(slot) ?? before?.eventId ?? null;
        if (before !== null && !replaced.has(slot)) superseded.push(before);
        replaced.set(slot, event.eventId);
      }
      entries.push(
        newEntry({ ...event, replaces: replaces === event.eventId ? null : replaces }, now, {
          shown,
          applied: true,
        }),
      );
      const reason = closingReason(event.pdu);
      if (reason !== null) {
        close = { reason };
        break;
      }
    }
    // A replaced state event stays readable: the state at earlier positions is made of it.
    if (superseded.length > 0) await store.replicas.add(log.roomId, [], superseded);
    const appended = await store.logs.append(log.roomId, {
      entries,
      intoReplica: true,
      ...(close === undefined ? {} : { close }),
    });
    metrics.logAppended.inc({ feed: 'remote' }, appended.length);
    metrics.forks.inc(entries.filter(isMerge).length);
    for (const entry of appended) {
      if (entry.type !== 'm.room.redaction') continue;
      const amended = await redactedInReplica(store, log, pduOf(entry), rules);
      if (amended === null) continue;
      const { event, isCurrentState } = amended;
      await store.logs.amend(log.roomId, event.eventId, event.json);
      if (isCurrentState) await store.replicas.add(log.roomId, [event], []);
    }
    return appended;
  }

  async #aclAdmits(roomId: string, origin: string): Promise<boolean> {
    const acl = await this.#current(roomId, 'm.room.server_acl', '');
    const content = acl?.pdu.content;
    return acl === null || compileServerAcl(isObject(content) ? content : null)(origin);
  }

  async #stored(roomId: string, type: string, stateKey: string): Promise<StoredEvent | null> {
    return (await this.#deps.store.replicas.stateOf(roomId, [[type, stateKey]]))[0] ?? null;
  }

  async #current(roomId: string, type: string, stateKey: string): Promise<VerifiedEvent | null> {
    const stored = await this.#stored(roomId, type, stateKey);
    if (stored === null) return null;
    return { eventId: stored.eventId, pdu: pduOf(stored) as VerifiedEvent['pdu'], redacted: false };
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

function storedEvent(event: VerifiedEvent): StoredEvent {
  const stateKey = event.pdu.state_key;
  return {
    eventId: event.eventId,
    json: JSON.stringify(event.pdu),
    type: event.pdu.type,
    stateKey: typeof stateKey === 'string' ? stateKey : null,
  };
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

/** An event with several predecessors joins lines that forked before it. */
function isMerge(entry: NewLogEntry): boolean {
  const previous = pduOf(entry).prev_events;
  return Array.isArray(previous) && previous.length > 1;
}
