import type { Json } from '../../matrix/json.ts';
import type { RoomVersionRules } from '../../matrix/room-versions.ts';
import type { Clock } from '../../platform/clock.ts';
import type { Logger } from '../../platform/log.ts';
import type { Metrics } from '../../platform/metrics.ts';
import { type KeyRing, keysFor, type RemoteServers } from '../../remote-servers/remote-servers.ts';
import { isStatePartial } from '../../rooms/log-entries.ts';
import type { EventRejected, VerifiedEvent } from '../../rooms/verify-event.ts';
import { verifyMany } from '../../rooms/verify-many.ts';
import type { RoomLog, Store } from '../../store/store.ts';
import { gatherKeys, KEYS_OF_EVENTS_WITHIN_MS } from '../authorisation/answer-keys.ts';
import { authSourceAt } from '../authorisation/auth-source.ts';
import { deniedInBatch } from '../authorisation/authorise-batch.ts';
import { CurrentState } from '../authorisation/current-state.ts';
import { AUTH_NOT_HAD } from '../authorisation/event-verdicts.ts';
import { RejectedEvents } from '../authorisation/rejected-events.ts';
import { isStripped, STRIPPED } from '../authorisation/stripped-state.ts';
import { Admission } from './admission.ts';
import { appendRemote } from './append-remote.ts';
import { GapFiller } from './gap-filler.ts';
import { HeldEvents } from './held-events.ts';
import { newsOf } from './history.ts';
import { KnownGraphs } from './known-graphs.ts';
import { parentsFirst, RoomGraph } from './room-graph.ts';

export interface IntakeDeps {
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

/**
 * `auth`: its own auth events do not allow it; `state`: the current state does not; `acl`: nor the server that sent
 * it; `content`: state whose content is not the one that was hashed.
 */
type DropReason = EventRejected['reason'] | 'acl' | 'state' | 'content';

/**
 * Takes authentic events into the log of a remote room: what is missing before them is looked for, each is judged,
 * and what may stay is stored in one step. To be called in the room's turn.
 */
export class Intake {
  readonly #deps: IntakeDeps;
  readonly #held = new HeldEvents();
  readonly #rejected = new RejectedEvents();
  readonly #graphs = new KnownGraphs();
  /** Rooms that are marked to catch up, and by a fork or a held event alone: none of their events are missing. */
  readonly #unsettled = new Set<string>();

  constructor(deps: IntakeDeps) {
    this.#deps = deps;
  }

  /** Authentic events of a transaction of `origin`, in their order. */
  async take(
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

  /** What the current state denies of a room is no longer held. */
  forget(roomId: string): void {
    this.#held.release(roomId);
    this.#unsettled.delete(roomId);
  }

  /** Events of the room may be missing. */
  missed(roomId: string): void {
    this.#unsettled.delete(roomId);
  }

  async markIncomplete(roomId: string): Promise<void> {
    this.missed(roomId);
    await this.#deps.store.logs.setFeed(roomId, { needsCatchUp: true });
  }

  /** Whether nothing but the current state of the room is in doubt. */
  isUnsettledOnly(roomId: string): boolean {
    return this.#unsettled.has(roomId);
  }

  /** Why some of these events are not authorised by their own auth events, by event ID. */
  denied(
    log: RoomLog,
    server: string,
    rules: RoomVersionRules,
    state: CurrentState,
    events: readonly VerifiedEvent[],
  ): Promise<Map<string, string>> {
    const { store, remote, clock } = this.#deps;
    const { roomId } = log;
    const source = authSourceAt(remote, server, roomId);
    const verify = this.verifier(log, server, rules);
    return deniedInBatch(
      { store, clock, roomId, rules, state, rejected: this.#rejected, source, verify },
      events,
    );
  }

  /** Brings new events into the log, after what it lacks before them. Returns why some are not taken, by event ID. */
  async #admit(
    log: RoomLog,
    origin: string,
    rules: RoomVersionRules,
    sent: readonly VerifiedEvent[],
  ): Promise<Map<string, string>> {
    const { store, clock, metrics, logger } = this.#deps;
    const { roomId } = log;
    const { news: fresh, doubtful } = await newsOf(store, log, rules, sent);
    const { found, unlinked } = await this.#gapFiller(log, origin, rules, fresh).fill(origin);
    const events = parentsFirst([...found, ...fresh], rules);
    const state = await CurrentState.for(store, roomId, events, rules);
    const denied = await this.denied(log, origin, rules, state, events);
    for (const reason of denied.values()) noteDropped(this.#deps, roomId, origin, 'auth', 1, reason);

    const graph = await this.#graphs.take(store, log, rules);
    const admission = new Admission({ store, roomId, rules }, state, graph, clock.now());
    // Of a state that is not all there yet nothing can be said.
    const isPartial = await isStatePartial(store, roomId);
    let isHolding = false;
    for (const event of events) {
      if (denied.has(event.eventId)) continue;
      if (admission.isClosed) break;
      if (isStripped(event)) {
        denied.set(event.eventId, STRIPPED);
        noteDropped(this.#deps, roomId, origin, 'content', 1, STRIPPED);
        continue;
      }
      if (isPartial || admission.allowedNow(event).allowed) await admission.take(event, 'in-turn');
      else if (this.#hold(roomId, origin, event)) isHolding = true;
      else denied.set(event.eventId, 'the current state of the room does not allow it');
    }
    const gap = events.some(({ eventId }) => unlinked.has(eventId) && !denied.has(eventId));
    // Acknowledged, and not sent again: what could not be judged now is among the events that are asked for anew.
    const unjudged = [AUTH_NOT_HAD, STRIPPED].some((why) => [...denied.values()].includes(why));
    const needsCatchUp = gap || unjudged || isHolding || admission.unsettled || doubtful;
    if (gap || unjudged) this.#unsettled.delete(roomId);
    else if (needsCatchUp && !log.needsCatchUp) this.#unsettled.add(roomId);
    if (admission.entries.length > 0) {
      const appended = await appendRemote(this.#deps, roomId, admission, {
        gap,
        ...(needsCatchUp ? { needsCatchUp } : {}),
      });
      if (!gap && appended.length === admission.entries.length) this.#graphs.keep(log, graph, appended);
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
        verify: this.verifier(log, origin, rules),
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
  verifier({ roomId }: RoomLog, origin: string, rules: RoomVersionRules) {
    const { clock } = this.#deps;
    const keys = keysFor(origin, this.#deps.keys);
    return async (events: readonly Json[], signal: AbortSignal): Promise<VerifiedEvent[]> => {
      const ring = await gatherKeys(events, keys, clock, signal, KEYS_OF_EVENTS_WITHIN_MS);
      const drop = (error: EventRejected) =>
        noteDropped(this.#deps, roomId, origin, error.reason, 1, error.message);
      return verifyMany(events, { roomId, rules }, ring, drop, signal);
    };
  }

  /** An event that is authorised, yet not by the state we think current: one of the two may be wrong. */
  #hold(roomId: string, origin: string, event: VerifiedEvent): boolean {
    const { metrics, logger } = this.#deps;
    if (!this.#held.hold(roomId, { event, origin })) {
      noteDropped(this.#deps, roomId, origin, 'state', 1, 'too many events of the room are held');
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
  async retryHeld(log: RoomLog, rules: RoomVersionRules): Promise<void> {
    const { store, clock, metrics } = this.#deps;
    const { roomId } = log;
    this.#unsettled.delete(roomId);
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
      else noteDropped(this.#deps, roomId, held.get(event.eventId)?.origin ?? '', 'state', 1, verdict.reason);
    }
    if (admission.entries.length > 0) await appendRemote(this.#deps, roomId, admission, { gap: false });
  }
}

/** Counts and logs events that are not admitted, without their content. */
export function noteDropped(
  { metrics, logger }: Pick<IntakeDeps, 'metrics' | 'logger'>,
  room: string,
  server: string,
  reason: DropReason,
  count: number,
  why?: string,
): void {
  metrics.eventsDropped.inc({ reason }, count);
  logger.warn({ room, server, reason, why }, 'an event was dropped');
}
