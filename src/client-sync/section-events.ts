import type { SyncFilter } from '../client-view/filter.ts';
import { Redactions } from '../client-view/redactions.ts';
import { type HeldEvent, Relations, type Viewer } from '../client-view/relations.ts';
import { type EventForm, type EventNotes, showEvent } from '../client-view/shown-event.ts';
import { isObject, type JsonObject } from '../matrix/json.ts';
import { pduOf, stateSlot } from '../rooms/log-entries.ts';
import type { StateEvent } from '../rooms/state-at.ts';
import type { Stretch } from '../rooms/timeline.ts';
import type { LogEntry, RoomLog } from '../store/store.ts';
import { type SectionEvent, withFields } from './section.ts';

export interface SectionScene {
  readonly log: RoomLog;
  readonly stretch: Stretch;
  readonly form: EventForm;
  readonly viewer: Viewer;
  /** For the events that are bundled with others. */
  readonly fields: SyncFilter['eventFields'];
  /** A replaced state event, where a non-member may see it. */
  readonly earlier: (eventId: string) => Promise<StateEvent | null>;
}

/** Shows the events of one section, with what the rest of its stretch says of them. */
export class SectionEvents {
  readonly #scene: SectionScene;
  readonly #redactions: Redactions;
  /** Only a limited timeline has relations bundled: else the client has all that relates. */
  readonly #relations: Relations;

  constructor(scene: SectionScene) {
    this.#scene = scene;
    const { log, stretch } = scene;
    const redactions = stretch.around.filter(({ type }) => type === 'm.room.redaction');
    this.#redactions = new Redactions(log.roomVersion, redactions.map(heldEvent));
    this.#relations = new Relations(stretch.limited ? stretch.around.map(heldEvent) : []);
  }

  /** `atStart`: the viewer's membership at the start of the timeline, where it is known. */
  async timeline(atStart: string | null): Promise<SectionEvent[]> {
    const memberships = await this.#memberships(atStart);
    return Promise.all(
      this.#scene.stretch.timeline.map(async (entry) => {
        const held = heldEvent(entry);
        const notes = await this.#notes(entry, held);
        const relations = this.#relations.of(
          held,
          notes.redaction !== null,
          this.#scene.viewer,
          this.#nested,
        );
        const membership = memberships(entry.position);
        const event = showEvent(held, this.#scene.form, { ...notes, relations, membership });
        return { eventId: entry.eventId, slot: slotOf(entry), event };
      }),
    );
  }

  /** State that a log entry is. */
  async state(entry: LogEntry): Promise<SectionEvent> {
    const held = heldEvent(entry);
    const event = showEvent(held, this.#scene.form, await this.#notes(entry, held));
    return { eventId: entry.eventId, slot: slotOf(entry), event };
  }

  /**
   * State as it is held. `pdu` where that is another form of it than its own. Of what a homeserver says beside an
   * event, that is told which is for anybody; not what it replaced, which may be from before the room was open.
   */
  heldState({ eventId, event }: StateEvent, pdu: JsonObject = event): SectionEvent {
    const held = { eventId, pdu };
    const said = isObject(event.unsigned) && this.#scene.log.feed === 'resident' ? event.unsigned : {};
    const notes: EventNotes = {
      replaces: typeof said.replaces_state === 'string' ? said.replaces_state : null,
      redaction: isObject(said.redacted_because)
        ? { eventId: String(said.redacted_because.event_id), pdu: said.redacted_because }
        : this.#redactions.of(held),
    };
    const slot = stateSlot(String(event.type), String(event.state_key));
    return { eventId, slot, event: showEvent(held, this.#scene.form, notes) };
  }

  async #notes(entry: LogEntry, held: HeldEvent): Promise<EventNotes & { redaction: HeldEvent | null }> {
    const redaction = this.#redactions.of(held);
    if (entry.replaces === null) return { redaction };
    const replaced = await this.#scene.earlier(entry.replaces);
    const { content = {}, sender = '' } = replaced?.event ?? {};
    return { redaction, replaces: entry.replaces, replaced: replaced && { content, sender } };
  }

  readonly #nested = (event: HeldEvent, relations: JsonObject | null): JsonObject => {
    const { form, fields } = this.#scene;
    return withFields(showEvent(event, form, { relations, redaction: this.#redactions.of(event) }), fields);
  };

  /**
   * The viewer's membership after an event of the stretch (MSC4115): what their own events in it say, and before
   * them what these replaced. Who has none is outside: `leave`.
   */
  async #memberships(atStart: string | null): Promise<(position: number) => string> {
    const { stretch, viewer, earlier } = this.#scene;
    const own = stretch.around.filter(
      ({ type, stateKey }) => type === 'm.room.member' && stateKey === viewer.userId,
    );
    const replaced = own[0]?.replaces ?? null;
    const before = atStart ?? membershipIn((replaced === null ? null : await earlier(replaced))?.event);
    const changes = own.map((entry) => ({ at: entry.position, to: membershipIn(pduOf(entry)) }));
    return (position) => changes.findLast(({ at }) => at <= position)?.to ?? before;
  }
}

/** `leave` where an event says nothing of it, or is none. */
export function membershipIn(member: JsonObject | undefined): string {
  const content = member?.content;
  const membership = isObject(content) ? content.membership : undefined;
  return typeof membership === 'string' ? membership : 'leave';
}

export function slotOf({ type, stateKey, applied }: LogEntry): string | null {
  return stateKey === null || !applied ? null : stateSlot(type, stateKey);
}

function heldEvent(entry: LogEntry): HeldEvent {
  return { eventId: entry.eventId, pdu: pduOf(entry) };
}
