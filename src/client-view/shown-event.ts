import { federationFormat, toClientEvent } from '../matrix/client-event.ts';
import { isObject, type Json, type JsonObject } from '../matrix/json.ts';
import { roomVersion } from '../matrix/room-versions.ts';
import type { HeldEvent } from './relations.ts';

/** The form of all events of one answer. */
export interface EventForm {
  readonly format: 'client' | 'federation';
  readonly roomId: string;
  readonly roomVersion: string;
  /** Whether events in client format name their room: not in `/sync`. Those in federation format always do. */
  readonly namesRoom: boolean;
  /** ms, from which ages are taken. */
  readonly now: number;
}

/** What is told of an event beside it, in `unsigned`. */
export interface EventNotes {
  /** The user's membership when the event was sent (MSC4115). */
  readonly membership?: string | null;
  /** The state event whose place it took. */
  readonly replaces?: string | null;
  /** … and that event, where the user may see it. */
  readonly replaced?: { readonly content: Json; readonly sender: Json } | null;
  readonly redaction?: HeldEvent | null;
  /** `m.relations`. */
  readonly relations?: JsonObject | null;
}

/**
 * An event as a client gets it. `unsigned` is our own, as Synapse has it: `age`, `membership`, `replaces_state`,
 * `prev_content`, `prev_sender`, `redacted_because`, `redacted_by`, `m.relations`. Never a `transaction_id`: that is
 * for the device that sent the event, and who only peeks sends none.
 */
export function showEvent(event: HeldEvent, form: EventForm, notes: EventNotes = {}): JsonObject {
  const shown = inForm(event, form);
  const unsigned = shown.unsigned as JsonObject;
  const { membership, replaces, replaced, redaction, relations } = notes;
  if (typeof membership === 'string') unsigned.membership = membership;
  if (typeof replaces === 'string') unsigned.replaces_state = replaces;
  if (replaced) {
    unsigned.prev_content = isObject(replaced.content) ? replaced.content : {};
    unsigned.prev_sender = replaced.sender;
  }
  if (redaction) {
    unsigned.redacted_by = redaction.eventId;
    unsigned.redacted_because = inForm(redaction, form);
  }
  if (relations) unsigned['m.relations'] = relations;
  return shown;
}

function inForm({ eventId, pdu }: HeldEvent, { format, roomId, roomVersion: version, ...form }: EventForm) {
  const redactsPlace = roomVersion(version)?.redactsPlace;
  const options = { now: form.now, ...(redactsPlace && { redactsPlace }) };
  if (format === 'federation') return federationFormat(pdu, eventId, { ...options, roomId });
  return toClientEvent(pdu, eventId, { ...options, roomId: form.namesRoom ? roomId : null });
}
