import { setTimeout as sleep } from 'node:timers/promises';
import type { MatrixClient } from '../support/client.ts';
import { idsOf, timelineOf } from './rooms.ts';

/** What one answer told of the room, and the token to go on from. */
export interface RetriedAnswer {
  readonly ids: readonly string[];
  readonly next: string;
}

/** A device that asks from the same place again and again, as one does whose answers are all lost. */
export class Retrier {
  readonly client: MatrixClient;
  readonly answers: RetriedAnswer[] = [];
  readonly #roomId: string;
  readonly #since: string;

  constructor(client: MatrixClient, roomId: string, since: string) {
    this.client = client;
    this.#roomId = roomId;
    this.#since = since;
  }

  /** Until so many answers have come; a request without one is made again. Each has other time to wait. */
  async retry(count: number): Promise<void> {
    while (this.answers.length < count) {
      const timeout = (this.answers.length % 3) * 100;
      // As many events as are sent: a gap would hide some.
      const filter = { room: { timeline: { limit: 100 } } };
      try {
        const answer = await this.client.sync({ since: this.#since, timeout, filter });
        this.answers.push({
          ids: idsOf(timelineOf(answer.rooms.peek[this.#roomId])),
          next: answer.next_batch,
        });
      } catch {
        // The proxy is down.
      }
      await sleep(20);
    }
  }
}
