import type { Homeserver, ReadEvent } from '../../homeserver/homeserver.ts';
import { eventIdOf } from '../../matrix/event-id.ts';
import { serverNameOf } from '../../matrix/ids.ts';
import { type Pdu, prevEventIds, stripUnsigned } from '../../matrix/pdu.ts';
import { redact } from '../../matrix/redaction.ts';
import { type RoomVersionRules, roomVersion } from '../../matrix/room-versions.ts';
import type { RoomLog, Store } from '../../store/store.ts';
import { logBegin } from '../log-begin.ts';

/** How many unknown ancestors of one event are looked at: real chains of hidden events are one or two long. */
const MOST = 20;

export interface HiddenAncestor {
  readonly eventId: string;
  readonly pdu: Pdu;
  /** A non-member is shown it; the stream may still bring it, or never does. */
  readonly visible: boolean;
}

/**
 * Ancestors that the homeserver does not show in its stream: dummy events and `m.room.aliases`, which it hides
 * from all clients, whatever was written on a branch where the room was not open, and what it has not accepted
 * (rejected or soft-failed). They show only as `prev_events` which the log does not hold.
 *
 * The homeserver gives an event to a server whether it has accepted it or not, so it has to be proved that it
 * has. Either of two things proves it:
 * - A non-member is shown the event: it is given whole.
 * - An event made by our own homeserver names it: a homeserver builds on nothing that it has not accepted. It
 *   is given redacted, as homeservers give hidden history to each other: it links the graph and tells nothing.
 *   (Of a dummy event that is all there is.)
 * All others are left out; a peeking server sees that it lacks them, and can ask.
 *
 * An ancestor that lies before the log began is not wanted; the depth of the log's oldest entry tells.
 */
export class HiddenAncestors {
  readonly #store: Store;
  readonly #homeserver: Homeserver;
  readonly #log: RoomLog;
  readonly #rules: RoomVersionRules;
  readonly #oldestDepth: number;
  /** Event IDs that the log holds, that arrive, or that have been looked at. */
  readonly #known: Set<string>;

  private constructor(
    store: Store,
    homeserver: Homeserver,
    log: RoomLog,
    begins: { readonly rules: RoomVersionRules; readonly depth: number; readonly known: Set<string> },
  ) {
    this.#store = store;
    this.#homeserver = homeserver;
    this.#log = log;
    this.#rules = begins.rules;
    this.#oldestDepth = begins.depth;
    this.#known = begins.known;
  }

  /** For events that arrive together, oldest first. Null where nothing can be said: the log is empty. */
  static async of(
    store: Store,
    homeserver: Homeserver,
    log: RoomLog,
    arriving: readonly ReadEvent[],
  ): Promise<HiddenAncestors | null> {
    const rules = roomVersion(log.roomVersion);
    const depth = await logBegin(store, log);
    if (rules === undefined || depth === null) return null;
    const named = new Set(arriving.flatMap(({ pdu }) => prevEventIds(pdu, rules)));
    for (const { eventId } of arriving) named.delete(eventId);
    const held = await store.logs.positions(log.roomId, [...named]);
    const known = new Set([...held.keys(), ...arriving.map(({ eventId }) => eventId)]);
    return new HiddenAncestors(store, homeserver, log, { rules, depth, known });
  }

  /** Those of the next arriving event, oldest first. Rejects with `HomeserverDown` and `StoreDownError`. */
  async before(event: ReadEvent): Promise<HiddenAncestor[]> {
    const found: HiddenAncestor[] = [];
    let wanted = this.#unknown(event.pdu);
    for (let looked = 0; wanted.length > 0; ) {
      const further: { eventId: string; namedByUs: boolean }[] = [];
      for (const { eventId, namedByUs } of wanted) {
        if (this.#known.has(eventId) || looked >= MOST) continue;
        this.#known.add(eventId);
        looked++;
        const pdu = await this.#fetch(eventId);
        if (pdu === null) continue;
        const visible = (await this.#homeserver.visibleEvent(this.#log.roomId, eventId)) !== null;
        if (visible) found.unshift({ eventId, pdu, visible });
        else if (namedByUs) found.unshift({ eventId, pdu: redact(pdu, this.#rules), visible });
        further.push(...this.#unknown(pdu));
      }
      const held = await this.#heldOf(further);
      wanted = further.filter(({ eventId }) => !held.has(eventId));
    }
    return found;
  }

  #unknown(pdu: Pdu): { eventId: string; namedByUs: boolean }[] {
    const namedByUs = serverNameOf(pdu.sender) === this.#homeserver.serverName;
    return prevEventIds(pdu, this.#rules)
      .filter((eventId) => !this.#known.has(eventId))
      .map((eventId) => ({ eventId, namedByUs }));
  }

  async #heldOf(named: readonly { eventId: string }[]): Promise<ReadonlyMap<string, number>> {
    if (named.length === 0) return new Map();
    return this.#store.logs.positions(
      this.#log.roomId,
      named.map(({ eventId }) => eventId),
    );
  }

  async #fetch(eventId: string): Promise<Pdu | null> {
    const fetched = await this.#homeserver.event(eventId);
    if (fetched === null || Number(fetched.depth) <= this.#oldestDepth) return null;
    const pdu = stripUnsigned(fetched);
    return eventIdOf(pdu, this.#rules) === eventId ? pdu : null;
  }
}
