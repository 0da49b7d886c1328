import { expect, onTestFinished, test } from 'vitest';
import { bigRoom, MEMBER_SERVERS } from '../../bench/big-room.ts';
import { createPeekingSide, warmKeys } from '../../bench/peeking-side.ts';
import { longestTask } from '../../support/longest-task.ts';
import { ScriptedServer } from '../../support/scripted-server.ts';

const MEMBERS = 1_800;
/** Ten times what is meant, which `npm run bench -- bigroom` measures. */
const LONGEST_TASK_MS = 500;

test('a large room over TLS: readable before it is whole, whole in the end, and the event loop goes on', async () => {
  const server = await ScriptedServer.start();
  onTestFinished(() => server.close());
  const room = bigRoom(server.serverName, MEMBERS);
  const answer = Buffer.from(
    JSON.stringify({ ...room.peekAnswer(50), auth_chain: room.authChain.slice(0, 70).map(({ pdu }) => pdu) }),
  );
  server.on('PUT', '/peek/', () => answer);
  const side = await createPeekingSide(':memory:');
  onTestFinished(side.close);
  await warmKeys(side, [server.serverName, ...MEMBER_SERVERS]);
  const { store, feed, outbound } = side;
  const members = async () => {
    const state = await store.replicas.state(room.roomId);
    return state.filter(({ type }) => type === 'm.room.member').length;
  };

  let atFirst = 0;
  let turns = 0;
  const longest = await longestTask(async () => {
    const log = await outbound.subscribe(room.roomId, [server.serverName]);
    expect(feed.isCompleting(room.roomId)).toBe(true);
    expect(log.needsCatchUp).toBe(true);
    atFirst = await members();
    expect((await store.logs.readLast(room.roomId, log.head, 100)).filter(({ shown }) => shown)).toHaveLength(
      50,
    );
    for (; feed.isCompleting(room.roomId); turns++) await new Promise((resolve) => setImmediate(resolve));
  });
  expect(atFirst).toBeLessThan(20);
  expect(await members()).toBe(MEMBERS + 1);
  expect((await store.logs.get(room.roomId))?.needsCatchUp).toBe(false);
  expect(turns).toBeGreaterThan(MEMBERS / 150);
  expect(longest).toBeLessThan(LONGEST_TASK_MS);
});

test('a large answer whose JSON is broken at its end is no answer', async () => {
  const server = await ScriptedServer.start();
  onTestFinished(() => server.close());
  const side = await createPeekingSide(':memory:');
  onTestFinished(side.close);
  const room = bigRoom(server.serverName, 20);
  const padded = JSON.stringify({ ...room.peekAnswer(50), padding: 'x'.repeat(2_000_000) });
  server.on('PUT', '/peek/', () => Buffer.from(padded.slice(0, -1)));
  await expect(side.outbound.subscribe(room.roomId, [server.serverName])).rejects.toMatchObject({
    status: 502,
    message: expect.stringContaining('no JSON object'),
  });
});
