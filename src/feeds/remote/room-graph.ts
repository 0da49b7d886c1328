import { prevEventIds } from '../../matrix/pdu.ts';
import type { RoomVersionRules } from '../../matrix/room-versions.ts';
import { isMark, pduOf } from '../../rooms/log-entries.ts';
import type { VerifiedEvent } from '../../rooms/verify-event.ts';
import type { RoomLog, Store } from '../../store/store.ts';

/** How far back forks are followed: a homeserver ties loose ends together with the next event of a user of its own. */
const WINDOW = 50;

interface Node {
  readonly order: number;
  readonly isState: boolean;
  readonly shown: boolean;
}

/** The newest part of a remote room's graph, as its log holds it, while a batch of events is added to it. */
export class RoomGraph {
  readonly #rules: RoomVersionRules;
  readonly #nodes = new Map<string, Node>();
  readonly #referenced = new Set<string>();
  /** Events that no other names. */
  readonly #open = new Set<string>();
  /** Event → the redactions in the window that name it. */
  readonly #redactions = new Map<string, VerifiedEvent['pdu']>();
  #newestState = -1;

  private constructor(rules: RoomVersionRules) {
    this.#rules = rules;
  }

  static async of(store: Store, log: RoomLog, rules: RoomVersionRules): Promise<RoomGraph> {
    const graph = new RoomGraph(rules);
    for (const entry of await store.logs.readLast(log.roomId, log.head, WINDOW)) {
      if (isMark(entry)) continue;
      graph.add({ eventId: entry.eventId, pdu: pduOf(entry) as VerifiedEvent['pdu'] }, entry.shown);
    }
    return graph;
  }

  add({ eventId, pdu }: Pick<VerifiedEvent, 'eventId' | 'pdu'>, shown: boolean): void {
    const order = this.#nodes.size;
    const isState = typeof pdu.state_key === 'string';
    this.#nodes.set(eventId, { order, isState, shown });
    if (!this.#referenced.has(eventId)) this.#open.add(eventId);
    for (const id of prevEventIds(pdu, this.#rules)) {
      this.#referenced.add(id);
      this.#open.delete(id);
    }
    if (isState) this.#newestState = order;
    if (pdu.type !== 'm.room.redaction') return;
    const target = this.#rules.redactsPlace === 'content' ? pdu.content.redacts : pdu.redacts;
    if (typeof target === 'string') this.#redactions.set(target, pdu);
  }

  /** How many events are known here. */
  get size(): number {
    return this.#nodes.size;
  }

  /** The newest events that no other names as its predecessor. */
  get extremities(): string[] {
    const oldest = this.#nodes.size - WINDOW;
    return [...this.#open].filter((id) => (this.#nodes.get(id)?.order ?? -1) >= oldest);
  }

  /** Whether the event follows on all that the room had, so that the graph stays a line, or becomes one again. */
  leadsOn(event: VerifiedEvent): boolean {
    const previous = new Set(prevEventIds(event.pdu, this.#rules));
    return this.extremities.every((id) => previous.has(id));
  }

  /**
   * Whether the state before the event is certainly the current one: no state has changed since the oldest of
   * its predecessors; and for a state event also that nothing else goes on beside it.
   */
  isSettledBefore(event: VerifiedEvent): boolean {
    const previous = prevEventIds(event.pdu, this.#rules);
    if (previous.length === 0) return false;
    for (const id of previous) {
      const node = this.#nodes.get(id);
      if (node === undefined || node.order < this.#newestState) return false;
    }
    return typeof event.pdu.state_key !== 'string' || this.leadsOn(event);
  }

  /**
   * Whether a predecessor of the event is the visibility event `since`, or is shown and came after it, or is not
   * known here. True where `since` lies before what is known here.
   */
  isVisibleSince(since: string, event: VerifiedEvent): boolean {
    const from = this.#nodes.get(since);
    if (from === undefined || event.eventId === since) return true;
    return prevEventIds(event.pdu, this.#rules).some((id) => {
      const node = this.#nodes.get(id);
      return id === since || node === undefined || (node.order > from.order && node.shown);
    });
  }

  /** The redaction that named this event before it was there. */
  redactionOf(eventId: string): VerifiedEvent['pdu'] | null {
    return this.#redactions.get(eventId) ?? null;
  }
}

/** The events in their order, each after those of them that it follows. */
export function parentsFirst(events: readonly VerifiedEvent[], rules: RoomVersionRules): VerifiedEvent[] {
  const left = new Map(events.map((event) => [event.eventId, event]));
  const opened = new Set<string>();
  const ordered: VerifiedEvent[] = [];
  for (const { eventId } of events) {
    const waiting = [eventId];
    for (let id = waiting.at(-1); id !== undefined; id = waiting.at(-1)) {
      const event = left.get(id);
      const before =
        event === undefined || opened.has(id)
          ? []
          : prevEventIds(event.pdu, rules).filter((each) => left.has(each) && !opened.has(each));
      opened.add(id);
      if (before.length > 0) waiting.push(...before);
      else {
        waiting.pop();
        if (event !== undefined && left.delete(id)) ordered.push(event);
      }
    }
  }
  return ordered;
}
