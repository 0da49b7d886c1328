import { DeadlineError } from '../../platform/deadline.ts';
import { GateFullError, GateLeftError } from '../../platform/gate.ts';
import { RemoteRefusal } from '../../remote-servers/remote-servers.ts';
import { StoreDownError } from '../../store/store.ts';
import { type Asking, HistoryUnavailable } from './asking.ts';
import { type JudgePastDeps, judgePast } from './judge-past.ts';
import type { PastEvent } from './past-event.ts';
import type { PastRoom } from './past-room.ts';
import type { PastServers } from './past-servers.ts';

/** Events that a server left out of its answer are asked for one by one, so many of them. */
const MOST_SINGLE = 5;

/** Has events of a room's past: from memory, or from the servers of the room, one after the other. */
export class PastLoader {
  readonly #deps: JudgePastDeps;
  readonly servers: PastServers;

  constructor(deps: JudgePastDeps, servers: PastServers) {
    this.#deps = deps;
    this.servers = servers;
  }

  /**
   * These events, as far as any server has them, and whatever came with them into `asking.given`. Rejects with
   * `HistoryUnavailable` when no server could be asked, or none may be any more, and with `StoreDownError`.
   */
  async load(room: PastRoom, wanted: readonly string[], asking: Asking): Promise<Map<string, PastEvent>> {
    const found = new Map<string, PastEvent>();
    const missing = () => {
      for (const id of wanted) {
        const known = asking.given.get(id) ?? this.#deps.past.get(room.roomId, id);
        if (known !== undefined) found.set(id, known);
      }
      return wanted.filter((id) => !found.has(id));
    };
    if (missing().length === 0) return found;
    let answered = false;
    for (const server of await this.servers.of(room.roomId)) {
      const asked = await this.ask(room, server, asking, async () => {
        const open = missing();
        if (open.length > 0) await this.#from(server, room, open, asking);
        return true;
      });
      answered ||= asked !== null;
      if (missing().length === 0) return found;
    }
    if (!answered) throw new HistoryUnavailable(502, 'No server of the room gives its history for now');
    return found;
  }

  /** The event alone, where no more than that is wanted. */
  async loadOne(room: PastRoom, eventId: string, asking: Asking): Promise<PastEvent | null> {
    const known = asking.given.get(eventId) ?? this.#deps.past.get(room.roomId, eventId);
    if (known !== undefined) return known;
    let answered = false;
    for (const server of await this.servers.of(room.roomId)) {
      const asked = await this.ask(room, server, asking, async () => {
        await this.#single(server, room, [eventId], asking);
        return true;
      });
      answered ||= asked !== null;
      const found = asking.given.get(eventId);
      if (found !== undefined) return found;
    }
    if (!answered) throw new HistoryUnavailable(502, 'No server of the room could be asked for the event');
    return null;
  }

  /** What the first server that says anything names as the event closest to a time; null where none does. */
  async eventAt(room: PastRoom, ts: number, dir: 'b' | 'f', asking: Asking): Promise<string | null> {
    for (const server of await this.servers.of(room.roomId)) {
      const named = await this.ask(room, server, asking, () =>
        this.servers.eventAt(server, room.roomId, ts, dir, asking.signal),
      );
      if (named !== null && named !== 'refused') return named;
    }
    return null;
  }

  /**
   * What `work` gives, in its turn among what is asked of the server; `'refused'` where it says that there is nothing
   * for us, null where it could not be asked. Rejects with `HistoryUnavailable` when the read has no patience left.
   */
  async ask<T>(
    room: PastRoom,
    server: string,
    asking: Asking,
    work: () => Promise<T>,
  ): Promise<T | 'refused' | null> {
    if (asking.left <= 0) throw new HistoryUnavailable(504, 'Too much of the history has to be asked for');
    asking.left--;
    await asking.spend();
    try {
      return await this.servers.inTurn(server, asking.signal, work);
    } catch (error) {
      if (error instanceof StoreDownError || error instanceof HistoryUnavailable) throw error;
      if (asking.signal.aborted || error instanceof GateLeftError || error instanceof DeadlineError) {
        throw new HistoryUnavailable(504, 'The servers of the room take too long for its history');
      }
      if (error instanceof GateFullError) return null;
      this.#deps.logger.info(
        { room: room.roomId, server, reason: String(error) },
        'a server did not give the past of a peeked room; another one is asked',
      );
      return error instanceof RemoteRefusal && error.status === 404 ? 'refused' : null;
    }
  }

  async #from(server: string, room: PastRoom, wanted: readonly string[], asking: Asking): Promise<void> {
    const given = await this.servers.backfill(server, room.roomId, wanted, asking.signal);
    await this.#take(server, room, given, asking);
    const left = wanted.filter((id) => !asking.given.has(id)).slice(0, MOST_SINGLE);
    if (left.length > 0) await this.#single(server, room, left, asking);
  }

  async #single(server: string, room: PastRoom, wanted: readonly string[], asking: Asking): Promise<void> {
    const events = await Promise.all(
      wanted.map((id) =>
        this.servers.event(server, id, asking.signal).catch((error: unknown) => {
          if (error instanceof RemoteRefusal && error.status === 404) return null;
          throw error;
        }),
      ),
    );
    await this.#take(
      server,
      room,
      events.filter((event) => event !== null),
      asking,
    );
  }

  async #take(
    server: string,
    room: PastRoom,
    given: Parameters<typeof judgePast>[3],
    asking: Asking,
  ): Promise<void> {
    const judged = await judgePast(this.#deps, room, server, given, asking.signal);
    for (const past of judged) {
      const held = asking.given.get(past.eventId);
      // What one server stripped another may give whole.
      if (held === undefined || held.event === null) asking.given.set(past.eventId, past);
    }
  }
}
