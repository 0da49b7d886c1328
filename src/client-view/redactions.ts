import { isObject, type JsonObject } from '../matrix/json.ts';
import { redact } from '../matrix/redaction.ts';
import { roomVersion } from '../matrix/room-versions.ts';
import type { HeldEvent } from './relations.ts';

/**
 * Which events were redacted, and by which event: for `unsigned.redacted_because`.
 *
 * Whether a redaction counts was decided when it came: the event that it names is then held pruned. So an event
 * was redacted if it is held pruned and one of these events names it. Where the redaction itself is not among
 * them, the event is shown pruned, without saying by whom.
 */
export class Redactions {
  readonly #version: string;
  readonly #by = new Map<string, HeldEvent>();

  /** `events`: all that may hold redactions, oldest first; of several redactions of one event the first counts. */
  constructor(roomVersionId: string, events: Iterable<HeldEvent>) {
    this.#version = roomVersionId;
    const place = roomVersion(roomVersionId)?.redactsPlace;
    for (const event of events) {
      if (event.pdu.type !== 'm.room.redaction') continue;
      const content = isObject(event.pdu.content) ? event.pdu.content : {};
      const target = place === 'content' ? content.redacts : event.pdu.redacts;
      if (typeof target === 'string' && !this.#by.has(target)) this.#by.set(target, event);
    }
  }

  /** The redaction of this event; null where it was not redacted, or the redaction is not known. */
  of(event: HeldEvent): HeldEvent | null {
    const redaction = this.#by.get(event.eventId);
    return redaction !== undefined && this.#isPruned(event.pdu) ? redaction : null;
  }

  #isPruned(pdu: JsonObject): boolean {
    const rules = roomVersion(this.#version);
    if (rules === undefined || !isObject(pdu.content)) return false;
    const left = redact(pdu, rules).content;
    return isObject(left) && sameMembers(left, pdu.content);
  }
}

/** Pruning takes members off at the top and in one place below it, and changes none. */
function sameMembers(pruned: JsonObject, content: JsonObject): boolean {
  return JSON.stringify(pruned).length === JSON.stringify(content).length;
}
