import { isObject, type JsonObject } from '../matrix/json.ts';
import { type IgnoredSenders, NOBODY_IGNORED } from './ignored-users.ts';

/** An event as the proxy holds it: its PDU (pruned, where it was redacted) and its ID. */
export interface HeldEvent {
  readonly eventId: string;
  readonly pdu: JsonObject;
}

/** For whom relations are gathered. */
export interface Viewer {
  readonly userId: string;
  readonly ignored?: IgnoredSenders;
}

/** Shows an event inside another's `unsigned`; `relations` is its own `m.relations`, or null. */
export type ShowRelated = (event: HeldEvent, relations: JsonObject | null) => JsonObject;

/** What an event says of another in `m.relates_to`; null where it is no relation. */
export function relationOf(pdu: JsonObject): { readonly type: string; readonly target: string } | null {
  const relates = isObject(pdu.content) ? pdu.content['m.relates_to'] : undefined;
  if (!isObject(relates)) return null;
  const { rel_type: type, event_id: target } = relates;
  return typeof type === 'string' && typeof target === 'string' ? { type, target } : null;
}

/**
 * What a room's events say of each other, for `unsigned["m.relations"]` (client-server API, "Aggregations of child
 * events"): edits, threads and references, as Synapse bundles them.
 *
 * Made of a pool of events, oldest first, among which the relations of an event are looked for: since what relates
 * to an event comes after it, all events that the caller may see from the oldest shown one on will do. Relations
 * that are not in the pool are not told of. A pruned event has no relation any more, so that redacted edits,
 * replies and references are left out by themselves. Nothing is read or stored; making it takes one walk.
 */
export class Relations {
  readonly #children = new Map<string, { readonly type: string; readonly event: HeldEvent }[]>();

  constructor(pool: Iterable<HeldEvent>) {
    const seen = new Set<string>();
    for (const event of pool) {
      const relation = relationOf(event.pdu);
      if (relation === null || isState(event) || seen.has(event.eventId)) continue;
      seen.add(event.eventId);
      const child = { type: relation.type, event };
      const children = this.#children.get(relation.target);
      if (children === undefined) this.#children.set(relation.target, [child]);
      else children.push(child);
    }
  }

  /** Whether anything in the pool relates to the event. */
  concern(eventId: string): boolean {
    return this.#children.has(eventId);
  }

  /** Whether an event that passes relates to this one: for `related_by_rel_types` and `related_by_senders`. */
  some(eventId: string, passes: (relation: { type: string; sender: unknown }) => boolean): boolean {
    const children = this.#children.get(eventId) ?? [];
    return children.some(({ type, event }) => passes({ type, sender: event.pdu.sender }));
  }

  /**
   * The event's `m.relations`; null where there are none. State has none, nor have edits and annotations; a
   * redacted event has no `m.replace`, and only an event that relates to none begins a thread. `redacted` says
   * whether the event itself was pruned.
   */
  of(event: HeldEvent, redacted: boolean, viewer: Viewer, show: ShowRelated): JsonObject | null {
    const own = relationOf(event.pdu)?.type;
    if (isState(event) || own === 'm.replace' || own === 'm.annotation') return null;
    const found = this.#bundle(event, redacted, viewer, show);
    const thread = own === undefined ? this.#thread(event, viewer, show) : null;
    if (thread !== null) found['m.thread'] = thread;
    return Object.keys(found).length === 0 ? null : found;
  }

  #bundle(event: HeldEvent, redacted: boolean, viewer: Viewer, show: ShowRelated): JsonObject {
    const found: JsonObject = {};
    const references = this.#related(event, 'm.reference', viewer);
    if (references.length > 0) {
      found['m.reference'] = { chunk: references.map(({ eventId }) => ({ event_id: eventId })) };
    }
    const edit = redacted ? null : this.#edit(event);
    if (edit !== null) found['m.replace'] = show(edit, null);
    return found;
  }

  /** The newest edit by the event's own sender, of its own type; by the time that it names, as the specification has it. */
  #edit(event: HeldEvent): HeldEvent | null {
    const { type, sender } = event.pdu;
    const edits = (this.#children.get(event.eventId) ?? [])
      .filter((child) => child.type === 'm.replace')
      .map((child) => child.event)
      .filter(({ pdu }) => pdu.type === type && pdu.sender === sender)
      .toSorted((one, other) => sentAt(one) - sentAt(other) || (one.eventId < other.eventId ? -1 : 1));
    return edits.at(-1) ?? null;
  }

  #thread(root: HeldEvent, viewer: Viewer, show: ShowRelated): JsonObject | null {
    const replies = this.#related(root, 'm.thread', viewer);
    const latest = replies.at(-1);
    if (latest === undefined) return null;
    const bundled = this.#bundle(latest, false, viewer, show);
    const { userId } = viewer;
    return {
      latest_event: show(latest, Object.keys(bundled).length === 0 ? null : bundled),
      count: replies.length,
      current_user_participated: root.pdu.sender === userId || replies.some((r) => r.pdu.sender === userId),
    };
  }

  #related(event: HeldEvent, type: string, { ignored = NOBODY_IGNORED }: Viewer): HeldEvent[] {
    return (this.#children.get(event.eventId) ?? [])
      .filter((child) => child.type === type && !ignored.hides(child.event.pdu))
      .map((child) => child.event);
  }
}

function isState({ pdu }: HeldEvent): boolean {
  return typeof pdu.state_key === 'string';
}

function sentAt({ pdu }: HeldEvent): number {
  return typeof pdu.origin_server_ts === 'number' ? pdu.origin_server_ts : 0;
}
