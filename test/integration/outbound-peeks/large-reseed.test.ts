import { expect, onTestFinished, test } from 'vitest';
import { openFromAnswer } from '../../../src/feeds/answers/open-remote.ts';
import type { PeekAnswer } from '../../../src/feeds/answers/peek-answer.ts';
import { reseed } from '../../../src/feeds/remote/reseed.ts';
import { systemClock as clock } from '../../../src/platform/clock.ts';
import { createLogger } from '../../../src/platform/log.ts';
import { createMetrics } from '../../../src/platform/metrics.ts';
import type { VerifiedEvent } from '../../../src/rooms/verify-event.ts';
import { openStore } from '../../../src/store/open-store.ts';
import { longestTask } from '../../support/longest-task.ts';
import { RoomBuilder } from '../../support/room-builder.ts';

const MEMBERS = 28_000;
const GONE = 100;
/** Ten times what is meant. */
const LONGEST_TASK_MS = 500;

test('a room of 28 000 members is asked for again, with state changed and gone ⇒ the event loop goes on', async () => {
  const logger = createLogger('silent');
  const store = await openStore({ redisUrl: null, dataDir: ':memory:', clock, logger });
  onTestFinished(() => store.close());
  const deps = { store, clock, logger, metrics: createMetrics() };
  const room = new RoomBuilder('10');
  const { pdu } = room.member('@somebody:peer.test', 'join');
  const members = Array.from({ length: MEMBERS }, (_, n): VerifiedEvent => {
    const content = { membership: 'join', displayname: `Member number ${n} of this room` };
    return {
      eventId: `$${`${n}`.padEnd(43, 'm')}`,
      pdu: { ...pdu, state_key: `@${n}:peer.test`, content },
      redacted: false,
    };
  });
  const built = (events: RoomBuilder['events']) =>
    events.map((event): VerifiedEvent => ({ ...event, redacted: false }));
  const answer = (more: VerifiedEvent[]): PeekAnswer => ({
    peekId: 'theirs',
    roomVersion: room.version,
    rules: room.rules,
    renewalIntervalMs: 3_600_000,
    state: [...built(room.currentState), ...more],
    authChain: [...built(room.authChain), ...members.slice(0, MEMBERS / 2)],
    recent: built(room.events.slice(-20)),
    isSeamless: true,
    rest: null,
  });
  const log = await openFromAnswer(deps, room.roomId, answer(members));
  const whole = (await store.replicas.state(room.roomId)).length;
  expect(whole).toBe(MEMBERS + room.currentState.length);

  room.state('m.room.topic', '', { topic: 'new' });
  const longest = await longestTask(() => reseed(deps, log, answer(members.slice(GONE))));
  expect((await store.replicas.state(room.roomId)).length).toBe(whole + 1 - GONE);
  expect(longest).toBeLessThan(LONGEST_TASK_MS);

  const stillRunning = await longestTask(() => store.logs.drop(room.roomId));
  expect(await store.size()).toBe(0);
  expect(stillRunning).toBeLessThan(LONGEST_TASK_MS);
});
