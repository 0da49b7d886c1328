import type { ClientEvent, MatrixClient, SyncAnswer } from '../support/client.ts';
import { idsOf, timelineOf } from './rooms.ts';

const POLL_MS = 5_000;
/** As many events as one answer can show: what comes at once after an outage is not cut, which would be a gap. */
const filter = { room: { timeline: { limit: 100 } } };

/**
 * A device that syncs on and on, and keeps what it is told of one peeked room, in that order: its events,
 * whether it was told of a gap, and whether the room has been in `leave`.
 */
export class Follower {
  readonly client: MatrixClient;
  readonly roomId: string;
  readonly events: ClientEvent[] = [];
  since: string;
  gaps = 0;
  ended = false;

  /** Follows from the place that `since` stands for. */
  constructor(client: MatrixClient, roomId: string, since: string) {
    this.client = client;
    this.roomId = roomId;
    this.since = since;
  }

  get ids(): string[] {
    return idsOf(this.events);
  }

  /** One `/sync`, which waits at most `timeout` ms. */
  async step(timeout = POLL_MS): Promise<SyncAnswer> {
    const answer = await this.client.sync({ since: this.since, timeout, filter });
    this.since = answer.next_batch;
    const { peek, leave } = answer.rooms;
    for (const room of [peek[this.roomId], leave[this.roomId]]) {
      this.events.push(...timelineOf(room));
      if (room?.timeline?.limited) this.gaps++;
    }
    if (this.roomId in leave) this.ended = true;
    return answer;
  }

  /** Syncs on until the event has come. */
  untilEvent(eventId: string, timeoutMs = 20_000): Promise<void> {
    return this.#until(eventId, () => this.ids.includes(eventId), timeoutMs);
  }

  /** Syncs on until the room was in `leave`. */
  untilEnded(timeoutMs = 20_000): Promise<void> {
    return this.#until('the end of the peek', () => this.ended, timeoutMs);
  }

  async #until(what: string, holds: () => boolean, timeoutMs: number): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    while (!holds()) {
      const left = deadline - Date.now();
      if (left <= 0) throw new Error(`${this.client.userId} was not told of ${what} within ${timeoutMs} ms`);
      await this.step(Math.min(left, POLL_MS));
    }
  }
}

/** Peeks, and gives a follower that stands behind the first section, with that section's answer. */
export async function startFollowing(
  client: MatrixClient,
  roomId: string,
  via: readonly string[] = [],
): Promise<{ follower: Follower; first: SyncAnswer; peeked: number }> {
  const { next_batch } = await client.sync();
  const { status } = await client.peek(roomId, via);
  const first = await client.sync({ since: next_batch, timeout: 10_000 });
  return { follower: new Follower(client, roomId, first.next_batch), first, peeked: status };
}
