import { setTimeout as sleep } from 'node:timers/promises';
import type { MatrixClient, SyncAnswer } from './client.ts';

/** Somebody who waits in `/sync` for what is said in one room. */
export interface LiveReader {
  readonly client: MatrixClient;
  readonly section: 'peek' | 'join';
  readonly roomId: string;
  since: string;
}

/**
 * Sends one message while the reader's `/sync` waits, and gives the ms from the send to the answer in hand.
 * `settleMs`: long enough for the poll to be waiting at the homeserver before the message is sent.
 */
export async function oneMessage(
  sender: MatrixClient,
  reader: LiveReader,
  body: string,
  settleMs: number,
): Promise<number> {
  const carries = (answer: SyncAnswer) =>
    (answer.rooms[reader.section][reader.roomId]?.timeline?.events ?? []).some(
      ({ content }) => content.body === body,
    );
  const waiting = reader.client.syncUntil(reader.since, carries);
  waiting.catch(() => {});
  await sleep(settleMs);
  const sent = performance.now();
  await sender.sendText(reader.roomId, body);
  const answer = await waiting;
  reader.since = answer.next_batch;
  return performance.now() - sent;
}
