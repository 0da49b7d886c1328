import { afterAll, beforeAll, expect, it } from 'vitest';
import { type MatrixClient, register } from '../support/client.ts';
import { type Site, startSite } from '../support/federation.ts';
import { newUser } from './accounts.ts';
import { startFollowing } from './follower.ts';
import { idsOf, sectionOf, timelineOf } from './rooms.ts';

/** Whoever was away is sent to again within seconds; by default Synapse waits for ten minutes. */
const federation = {
  destination_min_retry_interval: '1s',
  destination_max_retry_interval: '2s',
  destination_retry_multiplier: 1,
};
const proxyEnv = { PEEK_RATE_LIMIT: '10000/m' };
let a: Site;
let b: Site;
let c: Site;
let alice: MatrixClient;
let carol: MatrixClient;
let roomId: string;

beforeAll(async () => {
  const start = (name: string) => startSite({ name, proxyEnv, synapse: { settings: { federation } } });
  [a, b, c] = await Promise.all([start('a'), start('b'), start('c')]);
  // Members talk to their homeservers: what they send does not depend on the proxies, which are killed here.
  alice = await register(a.synapse.url, 'alice');
  carol = await register(c.synapse.url, 'carol');
  roomId = await alice.createWorldReadableRoom();
  await carol.join(roomId, [a.serverName]);
});
afterAll(() => Promise.all([a?.stop(), b?.stop(), c?.stop()]));

it("Events of A's and of C's users all reach B's peeker once and in order, A's proxy killed mid-burst", async () => {
  const { follower } = await startFollowing(await newUser(b, 'bob'), roomId, [a.serverName]);
  const { next_batch: start } = await alice.sync();
  const burst = async (sender: MatrixClient): Promise<string[]> => {
    const sent: string[] = [];
    for (let i = 1; i <= 15; i++) sent.push(await sender.sendText(roomId, `${sender.userId} ${i}`));
    return sent;
  };
  const sending = Promise.all([burst(alice), burst(carol)]);
  await follower.step();
  await a.proxy.kill();
  const restarted = a.proxy.restart();
  const sent = (await sending).flat();
  await restarted;
  // What C could not deliver while A's proxy was away comes after the next that it hears of A.
  sent.push(await alice.sendText(roomId, 'A is heard again'));
  sent.push(await carol.sendText(roomId, 'and so is C'));
  for (const id of sent) await follower.untilEvent(id, 30_000);
  expect(follower.gaps).toBe(0);
  const seen = await alice.sync({ since: start, filter: { room: { timeline: { limit: 100 } } } });
  const order = idsOf(timelineOf(sectionOf(seen, 'join', roomId)));
  expect(follower.ids).toEqual(order.filter((id) => sent.includes(id)));
});
