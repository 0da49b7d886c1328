import type { Json, JsonObject } from '../../matrix/json.ts';
import { prevEventIds } from '../../matrix/pdu.ts';
import type { RoomVersionRules } from '../../matrix/room-versions.ts';
import type { Clock } from '../../platform/clock.ts';
import { withDeadline } from '../../platform/deadline.ts';
import type { RemoteServers } from '../../remote-servers/remote-servers.ts';
import { isMark } from '../../rooms/log-entries.ts';
import type { VerifiedEvent } from '../../rooms/verify-event.ts';
import { type RoomLog, type Store, StoreDownError } from '../../store/store.ts';
import { beginningOf } from './history.ts';

/** The spec's usual cap; some servers send more than was asked for, so the answer is cut as well. */
const MOST_AT_ONCE = 20;
const MOST_BYTES = MOST_AT_ONCE * 65_536 * 2;
/** A gap that is larger is left, and the state read anew. */
const MOST_MISSING = 200;
const MOST_ROUNDS = 12;
/** Servers that are asked beside the one that sent the events. */
const MOST_OTHERS = 3;
const ANSWER_MS = 5_000;
/** For all of it: the room's other events wait. */
const WITHIN_MS = 20_000;
/** The newest events of the log that are named to a server as what we have. */
const MOST_EARLIEST = 10;

export interface GapFilling {
  readonly store: Store;
  readonly remote: RemoteServers;
  readonly clock: Clock;
  /** Servers that may have the events as well, best first. */
  readonly otherServers: (roomId: string) => Promise<readonly string[]>;
  /** Gives those of the events that are authentic and of the room. */
  readonly verify: (events: readonly Json[], signal: AbortSignal) => Promise<VerifiedEvent[]>;
  /** Told of a server that could not be asked. */
  readonly failed: (server: string, error: unknown) => void;
  /** Events that need not be had, beside those of log and replica. */
  readonly isKnown: (eventId: string) => boolean;
}

/** What the predecessors of some events come to. */
export interface Ancestors {
  /** What servers have of the events that the log lacks, oldest first as far as depths tell. */
  readonly found: readonly VerifiedEvent[];
  /** Those of the events, and of `found`, that have a predecessor which nobody gave. */
  readonly unlinked: ReadonlySet<string>;
}

/** Looks for what lies between a room's log and events that were sent, at their sender first, then at other servers. */
export class GapFiller {
  readonly #deps: GapFilling;
  readonly #log: RoomLog;
  readonly #rules: RoomVersionRules;
  readonly #sent: ReadonlyMap<string, VerifiedEvent>;
  readonly #found = new Map<string, VerifiedEvent>();
  /** IDs of events that the log or the replica holds, or from before the log began: not wanted. */
  readonly #older = new Set<string>();
  /** IDs that neither the log nor the replica holds. */
  readonly #nowhere = new Set<string>();
  #left = MOST_ROUNDS;

  constructor(deps: GapFilling, log: RoomLog, rules: RoomVersionRules, sent: readonly VerifiedEvent[]) {
    this.#deps = deps;
    this.#log = log;
    this.#rules = rules;
    this.#sent = new Map(sent.map((event) => [event.eventId, event]));
  }

  /** Rejects with `StoreDownError` alone. */
  async fill(server: string): Promise<Ancestors> {
    let unlinked = await this.#unlinked();
    if (unlinked.size > 0) {
      try {
        await withDeadline(this.#deps.clock, WITHIN_MS, undefined, (signal) => this.#ask(server, signal));
      } catch (error) {
        if (error instanceof StoreDownError) throw error;
        this.#deps.failed(server, error);
      }
      unlinked = await this.#unlinked();
    }
    const found = [...this.#found.values()].toSorted((a, b) => Number(a.pdu.depth) - Number(b.pdu.depth));
    return { found, unlinked };
  }

  async #ask(sender: string, signal: AbortSignal): Promise<void> {
    const { failed, otherServers } = this.#deps;
    const begin = await beginningOf(this.#deps.store, this.#log);
    for (let at = 0, servers = [sender]; at < servers.length; at++) {
      const server = servers[at] as string;
      try {
        await this.#askOne(server, begin, signal, server === sender);
      } catch (error) {
        if (error instanceof StoreDownError) throw error;
        failed(server, error);
      }
      if (signal.aborted || (await this.#unlinked()).size === 0) return;
      if (at > 0) continue;
      const others = await otherServers(this.#log.roomId);
      servers = [sender, ...others.filter((other) => other !== sender).slice(0, MOST_OTHERS)];
    }
  }

  /**
   * Asks as long as the server's answers bring something new. Of another than the sender, through which the room is
   * not peeked, nothing is taken but what was asked for.
   */
  async #askOne(server: string, begin: number, signal: AbortSignal, isSender: boolean): Promise<void> {
    while (this.#left > 0 && this.#found.size < MOST_MISSING) {
      const latest = [...(await this.#unlinked())].slice(0, MOST_AT_ONCE);
      if (latest.length === 0 || signal.aborted) return;
      this.#left--;
      const answer = await this.#deps.remote.request(server, {
        method: 'POST',
        path: `/_matrix/federation/v1/get_missing_events/${encodeURIComponent(this.#log.roomId)}`,
        body: await this.#question(latest),
        timeoutMs: ANSWER_MS,
        maxBytes: MOST_BYTES,
        signal,
        // It has called us just now, so it is there.
        ...(isSender ? { ignoreBackOff: true } : {}),
      });
      const given = Array.isArray(answer.events) ? answer.events.slice(0, MOST_AT_ONCE * 2) : [];
      const verified = await this.#deps.verify(given, signal);
      const taken = isSender ? verified : ancestorsAmong(verified, await this.#wanted(), this.#rules);
      if (!this.#take(taken, begin)) return;
    }
  }

  async #question(latest: string[]): Promise<JsonObject> {
    const { store } = this.#deps;
    const newest = await store.logs.readLast(this.#log.roomId, this.#log.head, MOST_EARLIEST);
    const earliest = newest.filter((entry) => !isMark(entry)).map(({ eventId }) => eventId);
    return { earliest_events: earliest, latest_events: latest, limit: MOST_AT_ONCE, min_depth: 0 };
  }

  /** Whether there was anything new among them. */
  #take(events: readonly VerifiedEvent[], begin: number): boolean {
    let news = false;
    for (const event of events) {
      if (this.#isKnown(event.eventId)) continue;
      news = true;
      if (Number(event.pdu.depth) <= begin) this.#older.add(event.eventId);
      else if (this.#found.size < MOST_MISSING) this.#found.set(event.eventId, event);
    }
    return news;
  }

  #isKnown(eventId: string): boolean {
    return (
      this.#sent.has(eventId) ||
      this.#found.has(eventId) ||
      this.#older.has(eventId) ||
      this.#deps.isKnown(eventId)
    );
  }

  /** The predecessors that are nowhere. */
  async #wanted(): Promise<Set<string>> {
    const unlinked = await this.#unlinked();
    const events = [...this.#found.values(), ...this.#sent.values()];
    return new Set(
      events
        .filter(({ eventId }) => unlinked.has(eventId))
        .flatMap(({ pdu }) => prevEventIds(pdu, this.#rules))
        .filter((id) => this.#nowhere.has(id) && !this.#isKnown(id)),
    );
  }

  /** Those with a predecessor that is nowhere. */
  async #unlinked(): Promise<Set<string>> {
    const { store } = this.#deps;
    const { roomId } = this.#log;
    const previous = new Map<string, string[]>();
    for (const { eventId, pdu } of [...this.#found.values(), ...this.#sent.values()]) {
      const open = prevEventIds(pdu, this.#rules).filter((id) => !this.#isKnown(id));
      if (open.length > 0) previous.set(eventId, open);
    }
    if (previous.size === 0) return new Set();
    const wanted = new Set([...previous.values()].flat().filter((id) => !this.#nowhere.has(id)));
    const inLog = await store.logs.positions(roomId, [...wanted]);
    await Promise.all(
      [...wanted].map(async (id) => {
        const isHeld = inLog.has(id) || (await store.replicas.event(roomId, id)) !== null;
        (isHeld ? this.#older : this.#nowhere).add(id);
      }),
    );
    return new Set(
      [...previous].filter(([, ids]) => ids.some((id) => this.#nowhere.has(id))).map(([eventId]) => eventId),
    );
  }
}

/**
 * Those of the events that are wanted, or lead to what is. State whose content is not the one that was signed is left
 * out: only the server that the room is peeked through says what the room's state is, a list of servers without its
 * entries, say.
 */
function ancestorsAmong(
  events: readonly VerifiedEvent[],
  wanted: ReadonlySet<string>,
  rules: RoomVersionRules,
): VerifiedEvent[] {
  const usable = events.filter(({ pdu, redacted }) => !(redacted && typeof pdu.state_key === 'string'));
  const given = new Map(usable.map((event) => [event.eventId, event]));
  const taken = new Map<string, VerifiedEvent>();
  const waiting = [...wanted];
  for (let id = waiting.pop(); id !== undefined; id = waiting.pop()) {
    const event = given.get(id);
    if (event === undefined || taken.has(id)) continue;
    taken.set(id, event);
    waiting.push(...prevEventIds(event.pdu, rules));
  }
  return usable.filter(({ eventId }) => taken.has(eventId));
}
