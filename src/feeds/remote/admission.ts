import { authorise } from '../../matrix/auth-rules/authorise.ts';
import type { Verdict } from '../../matrix/auth-rules/verdict.ts';
import type { RoomVersionRules } from '../../matrix/room-versions.ts';
import { newEntry } from '../../rooms/log-entries.ts';
import { closingReason } from '../../rooms/readable.ts';
import type { VerifiedEvent } from '../../rooms/verify-event.ts';
import type { Append, NewLogEntry, Store, StoredEvent } from '../../store/store.ts';
import { readableSince } from '../answers/peek-answer.ts';
import type { CurrentState } from '../authorisation/current-state.ts';
import { type HeldRoom, pruned } from './replica-redaction.ts';
import type { RoomGraph } from './room-graph.ts';

/** Whether an accepted event becomes current: each in its turn, or as the peeked server says. */
export type Currency = 'in-turn' | ReadonlySet<string>;

/** A batch of authorised events on its way into the log of a remote room: what one append is made of. */
export class Admission {
  readonly entries: NewLogEntry[] = [];
  /** Times that the graph went on from somewhere else than where it ended. */
  forks = 0;
  /** The state before one of the events may not have been the current one. */
  unsettled = false;
  readonly #store: Store;
  readonly #roomId: string;
  readonly #rules: RoomVersionRules;
  readonly #now: number;
  readonly #state: CurrentState;
  readonly #graph: RoomGraph;
  readonly #amend = new Map<string, string>();
  #close: { reason: string } | undefined;

  constructor(
    room: { readonly store: Store; readonly roomId: string; readonly rules: RoomVersionRules },
    state: CurrentState,
    graph: RoomGraph,
    now: number,
  ) {
    this.#store = room.store;
    this.#roomId = room.roomId;
    this.#rules = room.rules;
    this.#now = now;
    this.#state = state;
    this.#graph = graph;
  }

  /** The closing event is in: nothing comes after it. */
  get isClosed(): boolean {
    return this.#close !== undefined;
  }

  /** Whether the current state lets the event's sender send it, which an honest server has asked as well. */
  allowedNow({ eventId, pdu }: VerifiedEvent): Verdict {
    return authorise(pdu, eventId, this.#state.auth, this.#rules);
  }

  async take(event: VerifiedEvent, currency: Currency): Promise<void> {
    if (this.isClosed) return;
    if (currency === 'in-turn') {
      if (!this.#graph.leadsOn(event)) this.forks++;
      if (!this.#graph.isSettledBefore(event)) this.unsettled = true;
    }
    const reason = closingReason(event.pdu);
    const isCurrent = currency !== 'in-turn' && currency.has(event.eventId);
    const shown = isCurrent || reason !== null || this.#isVisible(event);
    this.#graph.add(event, shown);
    await this.#place(event, { shown, applied: currency === 'in-turn' || isCurrent });
    if (reason !== null) this.#close = { reason };
  }

  /** What is to be appended; `replaced` goes into the replica's chain before: the state at earlier positions is made of it. */
  build(): { readonly append: Append; readonly replaced: StoredEvent[] } {
    const append: Append = {
      entries: this.entries,
      intoReplica: true,
      amend: [...this.#amend].map(([eventId, json]) => ({ eventId, json })),
      ...(this.#close === undefined ? {} : { close: this.#close }),
    };
    return { append, replaced: this.#state.replaced };
  }

  /** By the room's present visibility, and by the state before the event as far as the graph tells: the stricter. */
  #isVisible(event: VerifiedEvent): boolean {
    const visibility = this.#state.auth('m.room.history_visibility', '');
    const since = this.#state.get('m.room.history_visibility', '');
    if (visibility === null || since === null) return false;
    const known = { eventId: since.eventId, pdu: visibility, redacted: false };
    return readableSince([event], known).length > 0 && this.#graph.isVisibleSince(since.eventId, event);
  }

  async #place(event: VerifiedEvent, flags: { shown: boolean; applied: boolean }): Promise<void> {
    const { type, state_key: stateKey } = event.pdu;
    let replaces: string | null = null;
    if (typeof stateKey === 'string') {
      replaces = this.#state.get(type, stateKey)?.eventId ?? null;
      if (flags.applied) this.#state.set(event);
    }
    this.entries.push(newEntry({ ...event, replaces }, this.#now, flags));
    const early = this.#graph.redactionOf(event.eventId);
    if (early !== null) await this.#redact(early);
    if (type === 'm.room.redaction') await this.#redact(event.pdu);
  }

  async #redact(redaction: VerifiedEvent['pdu']): Promise<void> {
    const room: HeldRoom = {
      event: async (id) =>
        this.entries.find((entry) => entry.eventId === id) ?? this.#store.replicas.event(this.#roomId, id),
      state: async (type) => this.#state.get(type, ''),
    };
    const target = await pruned(room, redaction, this.#rules);
    if (target !== null) this.#amend.set(target.eventId, target.json);
  }
}
