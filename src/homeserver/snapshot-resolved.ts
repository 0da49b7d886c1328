import { eventIdOf } from '../matrix/event-id.ts';
import { JsonError, type JsonObject } from '../matrix/json.ts';
import { authEventIds, type Pdu, PduError, stateKeyOf } from '../matrix/pdu.ts';
import type { RoomVersionRules } from '../matrix/room-versions.ts';
import { inStretches } from './event-lists.ts';
import type { RoomSnapshot } from './homeserver.ts';
import { type PduList, PduListWriter } from './pdu-list.ts';
import { extremityLost, type SnapshotSource } from './snapshot-source.ts';

/** Up to so many events are fetched one by one rather than with one more whole state. */
const FEW = 20;

/** A room with several forward extremities, in the state that the homeserver has resolved them to. */
export class ResolvedSnapshot {
  readonly #source: SnapshotSource;
  readonly #roomId: string;
  readonly #rules: RoomVersionRules;
  /** All events that came along, by ID. */
  readonly #pool = new Map<string, Pdu>();

  constructor(source: SnapshotSource, roomId: string, rules: RoomVersionRules) {
    this.#source = source;
    this.#roomId = roomId;
    this.#rules = rules;
  }

  async take(extremities: readonly string[]): Promise<RoomSnapshot> {
    const current = await this.#source.currentState(this.#roomId);
    const stateIds = current.map(idOfClientEvent).filter((id) => id !== null);
    for (const extremity of extremities) {
      const missing = stateIds.filter((id) => !this.#pool.has(id));
      if (this.#pool.size > 0 && missing.length <= FEW) break;
      await this.#source.eachStateBefore(this.#roomId, extremity, (pdu) => this.#keep(pdu.parsed()));
    }
    await this.#fetch(stateIds);
    const latest = await Promise.all(
      extremities.map(async (id) => ({ id, event: await this.#source.event(id) })),
    );
    const [deepest] = latest.toSorted((a, b) => (b.event?.depth ?? -1) - (a.event?.depth ?? -1));
    if (deepest === undefined || deepest.event === null) throw extremityLost();
    const state = stateIds.map((id) => this.#pool.get(id)).filter((pdu) => pdu !== undefined);
    const find = (type: string) => state.find((pdu) => pdu.type === type && stateKeyOf(pdu) === '') ?? null;
    return {
      roomVersion: this.#rules.id,
      state: await listOf(state),
      authChain: await listOf(await this.#authChain([...state, deepest.event])),
      latest: deepest.event,
      latestId: deepest.id,
      visibility: find('m.room.history_visibility'),
      encryption: find('m.room.encryption'),
    };
  }

  /** All that the events rest on, back to the create event, which from version 12 on none of them names. */
  async #authChain(events: readonly Pdu[]): Promise<Pdu[]> {
    const chain = new Map<string, Pdu>();
    let layer = events;
    while (layer.length > 0) {
      const ids = new Set<string>();
      await inStretches(layer, (pdu) => {
        for (const id of authEventIds(pdu, this.#rules)) if (!chain.has(id)) ids.add(id);
      });
      await this.#fetch([...ids]);
      const next: Pdu[] = [];
      for (const id of ids) {
        const pdu = this.#pool.get(id);
        if (pdu === undefined) continue;
        chain.set(id, pdu);
        next.push(pdu);
      }
      layer = next;
    }
    for (const [id, pdu] of this.#pool) {
      if (pdu.type === 'm.room.create' && stateKeyOf(pdu) === '') chain.set(id, pdu);
    }
    return [...chain.values()];
  }

  /** Brings into the pool what is not there; what the homeserver does not have stays out. */
  async #fetch(eventIds: readonly string[]): Promise<void> {
    const missing = eventIds.filter((id) => !this.#pool.has(id));
    await Promise.all(
      missing.map(async (id) => {
        const pdu = await this.#source.event(id);
        if (pdu !== null) this.#pool.set(id, pdu);
      }),
    );
  }

  /** One old event that cannot be hashed costs itself alone. */
  #keep(pdu: Pdu | null): void {
    if (pdu === null) return;
    try {
      this.#pool.set(eventIdOf(pdu, this.#rules), pdu);
    } catch (error) {
      if (!(error instanceof JsonError || error instanceof PduError)) throw error;
    }
  }
}

async function listOf(pdus: readonly Pdu[]): Promise<PduList> {
  const writer = new PduListWriter();
  await inStretches(pdus, (pdu) => writer.add(Buffer.from(JSON.stringify(pdu))));
  return writer.list();
}

function idOfClientEvent(event: JsonObject): string | null {
  return typeof event.event_id === 'string' ? event.event_id : null;
}
