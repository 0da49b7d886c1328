import type { IgnoredSenders } from '../client-view/ignored-users.ts';
import { Redactions } from '../client-view/redactions.ts';
import type { HeldEvent } from '../client-view/relations.ts';
import { type EventForm, type EventNotes, showEvent } from '../client-view/shown-event.ts';
import type { JsonObject } from '../matrix/json.ts';
import type { Clock } from '../platform/clock.ts';
import { pduOf } from '../rooms/log-entries.ts';
import type { StateAt } from '../rooms/state-at.ts';
import type { LogEntry, RoomLog } from '../store/store.ts';

/**
 * Events of a log as clients of old get them: each with its room, state with what it replaced, without which such a
 * client cannot tell what names people had before. Relations are not bundled, as Synapse does not bundle them here.
 */
export class ShownEvents {
  readonly #stateAt: Pick<StateAt, 'earlier'>;
  readonly #clock: Clock;

  constructor(deps: { readonly stateAt: Pick<StateAt, 'earlier'>; readonly clock: Clock }) {
    this.#stateAt = deps.stateAt;
    this.#clock = deps.clock;
  }

  /** `around`: later events too, among which are the redactions of these. */
  async show(
    log: RoomLog,
    entries: readonly LogEntry[],
    around: readonly LogEntry[],
    ignored: IgnoredSenders,
  ): Promise<JsonObject[]> {
    const form: EventForm = {
      format: 'client',
      roomId: log.roomId,
      roomVersion: log.roomVersion,
      namesRoom: true,
      now: this.#clock.now(),
    };
    const redactions = new Redactions(
      log.roomVersion,
      around.filter(({ type }) => type === 'm.room.redaction').map(heldEvent),
    );
    const events = entries.map(async (entry) => {
      const held = heldEvent(entry);
      return showEvent(held, form, { ...(await this.#replaced(log, entry)), redaction: redactions.of(held) });
    });
    return (await Promise.all(events)).filter((event) => !ignored.hides(event));
  }

  async #replaced(log: RoomLog, { replaces }: LogEntry): Promise<EventNotes> {
    if (replaces === null) return {};
    // Worth nothing in itself: what cannot be had now is left out.
    const earlier = await this.#stateAt.earlier(log, replaces).catch(() => null);
    if (earlier === null) return { replaces };
    const { content = {}, sender = '' } = earlier.event;
    return { replaces, replaced: { content, sender } };
  }
}

function heldEvent(entry: LogEntry): HeldEvent {
  return { eventId: entry.eventId, pdu: pduOf(entry) };
}
