import type { MatrixClient } from '../../test/support/client.ts';
import { type LiveReader, oneMessage } from '../../test/support/live-reader.ts';
import { median, type Story } from './story.ts';

const TURNS = 7;
/** Long enough for a /sync to be waiting at the homeserver before the message is sent. */
const SETTLE_MS = 100;

export interface Turns {
  readonly alice: MatrixClient;
  readonly bob: MatrixClient;
  /** bob's place. */
  readonly since: string;
  readonly peekedRoom: string;
  /** An account of B that is joined to a second room of A. */
  readonly carol: MatrixClient;
  readonly joinedRoom: string;
}

/**
 * Messages sent on A wake the waiting /sync of who peeks on B, and of who is joined on B. The two rooms
 * take turns: an account of B that joined the peeked room itself would make it B's own, and end the
 * peek over federation. Gives bob's place after the last message.
 */
export async function takeTurns(story: Story, turns: Turns): Promise<string> {
  story.step(
    'Messages on A wake the waiting /sync of bob, who peeks, and of carol, who is joined to a second room',
  );
  const peeker: LiveReader = {
    client: turns.bob,
    section: 'peek',
    roomId: turns.peekedRoom,
    since: turns.since,
  };
  const joined = (await turns.carol.sync()).next_batch;
  const member: LiveReader = {
    client: turns.carol,
    section: 'join',
    roomId: turns.joinedRoom,
    since: joined,
  };
  const waits = { peek: [] as number[], join: [] as number[] };
  for (let turn = 1; turn <= TURNS; turn++) {
    for (const reader of [peeker, member]) {
      waits[reader.section].push(await oneMessage(turns.alice, reader, `message ${turn}`, SETTLE_MS));
    }
    const [peek, join] = [waits.peek.at(-1), waits.join.at(-1)].map((ms) => `${Math.round(ms ?? 0)} ms`);
    story.note(`message ${turn}:  peeking ${peek?.padStart(7)}   joined ${join?.padStart(7)}`);
  }
  const [peek, join] = [Math.round(median(waits.peek)), Math.round(median(waits.join))];
  story.check(true, `from alice's send to the /sync in hand, median: peeking ${peek} ms, joined ${join} ms`);
  return peeker.since;
}
