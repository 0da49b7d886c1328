import type { RoomLog } from '../../store/store.ts';
import { openResident } from './open-resident.ts';
import { ResidentFeed, type ResidentFeedDeps } from './resident-feed.ts';

/** All rooms of our own homeserver that somebody reads: one running feed each. */
export class ResidentFeeds {
  readonly #deps: ResidentFeedDeps;
  readonly #running = new Map<string, ResidentFeed>();
  readonly #opening = new Map<string, Promise<RoomLog>>();

  constructor(deps: ResidentFeedDeps) {
    this.#deps = deps;
  }

  /**
   * The room's log, opened and followed; see `openResident` for `patient` (a log that stays remote is not
   * followed). Rejects with `NotReadable` when the room is not open to non-members.
   */
  async open(roomId: string, options = { patient: false }): Promise<RoomLog> {
    const patient = await this.#opening.get(roomId);
    if (patient !== undefined && (patient.feed === 'resident' || options.patient)) return patient;
    const opening =
      this.#opening.get(roomId) ?? this.#open(roomId, options).finally(() => this.#opening.delete(roomId));
    this.#opening.set(roomId, opening);
    return opening;
  }

  async #open(roomId: string, options: { readonly patient: boolean }): Promise<RoomLog> {
    const before = this.#running.get(roomId);
    const log = await openResident(this.#deps, roomId, options);
    if (log.feed === 'remote') return log;
    if (before !== undefined && this.#running.get(roomId) === before && !before.finished) return log;
    this.follow(roomId);
    return log;
  }

  /** Follows a room whose log exists (after a restart). */
  follow(roomId: string): void {
    const feed = new ResidentFeed(roomId, this.#deps);
    void this.#running.get(roomId)?.stop();
    this.#running.set(roomId, feed);
    feed.start();
  }

  isRunning(roomId: string): boolean {
    return this.#running.get(roomId)?.finished === false;
  }

  async stop(roomId: string): Promise<void> {
    const feed = this.#running.get(roomId);
    this.#running.delete(roomId);
    await feed?.stop();
  }

  async stopAll(): Promise<void> {
    await Promise.all([...this.#running.keys()].map((roomId) => this.stop(roomId)));
  }

  /** For health: how many run, and which of them are in trouble. */
  status(): { running: number; troubled: { roomId: string; trouble: string }[] } {
    const troubled = [...this.#running.values()].flatMap((feed) =>
      feed.trouble === null ? [] : [{ roomId: feed.roomId, trouble: feed.trouble }],
    );
    return { running: this.#running.size, troubled };
  }
}
