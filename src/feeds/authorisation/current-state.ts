import { authTypesFor, type StateName } from '../../matrix/auth-rules/auth-events.ts';
import type { AuthState } from '../../matrix/auth-rules/auth-state.ts';
import { type Pdu, stateKeyOf } from '../../matrix/pdu.ts';
import type { RoomVersionRules } from '../../matrix/room-versions.ts';
import { eachInTurns } from '../../platform/turns.ts';
import { pduOf, stateSlot } from '../../rooms/log-entries.ts';
import type { VerifiedEvent } from '../../rooms/verify-event.ts';
import type { Store, StoredEvent } from '../../store/store.ts';

/** What every batch looks at, whatever is in it. */
const ALWAYS: readonly StateName[] = [
  ['m.room.create', ''],
  ['m.room.power_levels', ''],
  ['m.room.history_visibility', ''],
];

/**
 * The current state of a remote room, as far as a batch of events needs it, while they become current one after
 * the other. The replica is not touched: what changes goes into it with the events.
 */
export class CurrentState {
  readonly #slots: Map<string, StoredEvent>;
  readonly #parsed = new Map<string, Pdu>();
  readonly #replaced = new Map<string, StoredEvent>();

  private constructor(slots: Map<string, StoredEvent>) {
    this.#slots = slots;
  }

  /** What is needed to judge these events and to put them in their places. */
  static async for(
    store: Store,
    roomId: string,
    events: readonly VerifiedEvent[],
    rules: RoomVersionRules,
  ): Promise<CurrentState> {
    const names = new Map(ALWAYS.map((name) => [stateSlot(...name), name]));
    for (const { pdu } of events) {
      const stateKey = stateKeyOf(pdu);
      const wanted = authTypesFor(pdu, rules);
      if (stateKey !== null) wanted.push([pdu.type, stateKey]);
      for (const name of wanted) names.set(stateSlot(...name), name);
    }
    return CurrentState.of(await store.replicas.stateOf(roomId, [...names.values()]));
  }

  /** Of state that is at hand as a whole. */
  static async of(state: readonly StoredEvent[]): Promise<CurrentState> {
    const slots = new Map<string, StoredEvent>();
    await eachInTurns(state, (event) => slots.set(slotOf(event), event));
    return new CurrentState(slots);
  }

  get(type: string, stateKey: string): StoredEvent | null {
    return this.#slots.get(stateSlot(type, stateKey)) ?? null;
  }

  /** The current events among those that are here, by ID. */
  byId(): Map<string, StoredEvent> {
    return new Map([...this.#slots.values()].map((event) => [event.eventId, event]));
  }

  /** For the authorization rules. */
  readonly auth: AuthState = (type, stateKey) => {
    const stored = this.get(type, stateKey);
    if (stored === null) return null;
    const known = this.#parsed.get(stored.eventId);
    if (known !== undefined) return known;
    const pdu = pduOf(stored) as Pdu;
    this.#parsed.set(stored.eventId, pdu);
    return pdu;
  };

  /** Makes an event current. */
  set(event: VerifiedEvent): void {
    const stored = storedEvent(event);
    const slot = slotOf(stored);
    const before = this.#slots.get(slot);
    if (before !== undefined && !this.#replaced.has(slot)) this.#replaced.set(slot, before);
    this.#slots.set(slot, stored);
    this.#parsed.set(event.eventId, event.pdu);
  }

  /** What was current at the beginning and is no longer. */
  get replaced(): StoredEvent[] {
    return [...this.#replaced.values()];
  }
}

/** An event as the replica holds it. */
export function storedEvent(event: VerifiedEvent): StoredEvent {
  return {
    eventId: event.eventId,
    json: JSON.stringify(event.pdu),
    type: event.pdu.type,
    stateKey: stateKeyOf(event.pdu),
  };
}

export function slotOf(event: StoredEvent): string {
  return stateSlot(event.type, event.stateKey ?? '');
}
