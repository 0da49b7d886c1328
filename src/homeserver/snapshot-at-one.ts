import { eventIdOf } from '../matrix/event-id.ts';
import { JsonError, type JsonObject } from '../matrix/json.ts';
import { authEventIds, type Pdu, PduError, stateKeyOf } from '../matrix/pdu.ts';
import type { RoomVersionRules } from '../matrix/room-versions.ts';
import type { RoomSnapshot } from './homeserver.ts';
import { PduListWriter } from './pdu-list.ts';
import type { RawPdu } from './raw-pdu.ts';
import { extremityLost, type SnapshotSource } from './snapshot-source.ts';

/** The newest event rests on ten at most, and they on few that are not in the auth chain of the state before it. */
const MOST_FETCHED = 100;

/**
 * The state after one event, in the bytes of the homeserver's own answer: nearly all of it is neither parsed nor
 * hashed. The homeserver's auth chain is that of the state before the event; what the event itself rests on is
 * added to it, and the create event, which from version 12 on no event names.
 */
export async function snapshotAtOne(
  source: SnapshotSource,
  roomId: string,
  rules: RoomVersionRules,
  latestId: string,
): Promise<RoomSnapshot> {
  const latest = await source.event(latestId);
  if (latest === null) throw extremityLost();
  const reading = new Reading(rules, latest);
  await source.eachStateBefore(roomId, latestId, (pdu, list) => reading.take(pdu, list));
  await reading.complete(source);
  return { roomVersion: rules.id, latest, latestId, ...reading.found() };
}

class Reading {
  readonly #rules: RoomVersionRules;
  readonly #latest: Pdu;
  /** What `latest` takes the place of, if it is state. */
  readonly #replaced: string | null;
  readonly #state = new PduListWriter();
  readonly #authChain = new PduListWriter();
  /** Where events stand that `latest` may rest on; only these are hashed. */
  readonly #places: ReadonlySet<string>;
  readonly #inChain = new Set<string>();
  readonly #inState = new Map<string, Uint8Array[]>();
  readonly #creates = new Set<string>();
  readonly #deciding = new Map<string, Pdu | null>();

  constructor(rules: RoomVersionRules, latest: Pdu) {
    this.#rules = rules;
    this.#latest = latest;
    const stateKey = stateKeyOf(latest);
    this.#replaced = stateKey === null ? null : placeOf(latest.type, stateKey);
    this.#places = placesRestedOn(latest);
    if (stateKey === null) return;
    this.#state.add(Buffer.from(JSON.stringify(latest)));
    this.#decide(this.#replaced, () => latest);
  }

  take(pdu: RawPdu, list: 'state' | 'auth_chain'): void {
    const { type, stateKey } = pdu;
    if (type === null || stateKey === null) return;
    const place = placeOf(type, stateKey);
    const bytes = pdu.withoutUnsigned();
    const id = this.#places.has(place) ? this.#idOf(pdu) : null;
    if (list === 'auth_chain') {
      if (id !== null) this.#inChain.add(id);
      this.#authChain.add(...bytes);
      return;
    }
    if (id !== null) {
      this.#inState.set(
        id,
        bytes.map((part) => Uint8Array.from(part)),
      );
      if (type === 'm.room.create') this.#creates.add(id);
    }
    if (place === this.#replaced) return;
    this.#state.add(...bytes);
    this.#decide(place, () => pdu.parsed());
  }

  /** What `latest` rests on, and what that rests on, as far as it is not in the auth chain yet. */
  async complete(source: Pick<SnapshotSource, 'event'>): Promise<void> {
    let fetched = 0;
    const due = [...authEventIds(this.#latest, this.#rules), ...this.#creates];
    for (let id = due.pop(); id !== undefined; id = due.pop()) {
      if (this.#inChain.has(id)) continue;
      this.#inChain.add(id);
      const held = this.#inState.get(id);
      if (held !== undefined) this.#authChain.add(...held);
      else if (fetched++ < MOST_FETCHED) {
        const pdu = await source.event(id);
        if (pdu === null) continue;
        this.#authChain.add(Buffer.from(JSON.stringify(pdu)));
        due.push(...authEventIds(pdu, this.#rules));
      }
    }
  }

  found(): Pick<RoomSnapshot, 'state' | 'authChain' | 'visibility' | 'encryption'> {
    return {
      state: this.#state.list(),
      authChain: this.#authChain.list(),
      visibility: this.#deciding.get(VISIBILITY) ?? null,
      encryption: this.#deciding.get(ENCRYPTION) ?? null,
    };
  }

  #decide(place: string | null, event: () => Pdu | null): void {
    if (place === VISIBILITY || place === ENCRYPTION) this.#deciding.set(place, event());
  }

  #idOf(pdu: RawPdu): string | null {
    try {
      const parsed = pdu.parsed();
      return parsed === null ? null : eventIdOf(parsed, this.#rules);
    } catch (error) {
      if (error instanceof JsonError || error instanceof PduError) return null;
      throw error;
    }
  }
}

const VISIBILITY = placeOf('m.room.history_visibility', '');
const ENCRYPTION = placeOf('m.room.encryption', '');

/** Specification, "Auth events selection". */
function placesRestedOn(event: JsonObject): Set<string> {
  const places = new Set<string>();
  for (const type of ['m.room.create', 'm.room.power_levels', 'm.room.join_rules'])
    places.add(placeOf(type, ''));
  const content = event.content as JsonObject;
  for (const user of [event.sender, event.state_key, content.join_authorised_via_users_server]) {
    if (typeof user === 'string') places.add(placeOf('m.room.member', user));
  }
  return places;
}

function placeOf(type: string, stateKey: string): string {
  return JSON.stringify([type, stateKey]);
}
