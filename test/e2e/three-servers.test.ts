import { afterAll, beforeAll, expect, it } from 'vitest';
import { enc, type MatrixClient, register } from '../support/client.ts';
import { type Site, startSite } from '../support/federation.ts';
import { newUser } from './accounts.ts';
import { startFollowing } from './follower.ts';
import { peekCounts } from './metrics.ts';
import { idsOf, sectionOf, timelineOf } from './rooms.ts';
import { until } from './until.ts';

/** Whoever was away is sent to again within seconds; by default Synapse waits for ten minutes. */
const federation = {
  destination_min_retry_interval: '1s',
  destination_max_retry_interval: '2s',
  destination_retry_multiplier: 1,
};
/** The shortest that is taken from others: a server that is gone is noticed the sooner. */
const proxyEnv = { PEEK_RENEWAL_INTERVAL: '1m', PEEK_RATE_LIMIT: '10000/m' };
/** Until a homeserver has sent again what did not arrive. */
const SENT_AGAIN_MS = 60_000;
/** Until a renewal has failed and the room is peeked through another server. */
const FAILED_OVER_MS = 90_000;

let a: Site;
let b: Site;
let c: Site;
let alice: MatrixClient;
let carol: MatrixClient;

beforeAll(async () => {
  const start = (name: string) => startSite({ name, proxyEnv, synapse: { settings: { federation } } });
  [a, b, c] = await Promise.all([start('a'), start('b'), start('c')]);
  // Members talk to their homeservers: what they send does not depend on the proxies, which are killed here.
  alice = await register(a.synapse.url, 'alice');
  carol = await register(c.synapse.url, 'carol');
});
afterAll(() => Promise.all([a?.stop(), b?.stop(), c?.stop()]));

/** A room of A that C is in too. */
async function sharedRoom(): Promise<string> {
  const roomId = await alice.createWorldReadableRoom();
  await carol.join(roomId, [a.serverName]);
  return roomId;
}

it("Events of A's and of C's users all reach B's peeker once and in order, A's proxy killed mid-burst", async () => {
  const roomId = await sharedRoom();
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
  for (const id of sent) await follower.untilEvent(id, SENT_AGAIN_MS);
  expect(follower.gaps).toBe(0);
  const seen = await alice.sync({ since: start, filter: { room: { timeline: { limit: 100 } } } });
  const order = idsOf(timelineOf(sectionOf(seen, 'join', roomId)));
  expect(follower.ids).toEqual(order.filter((id) => sent.includes(id)));
});

it('A goes down: its peeker at B is served through C without a gap; A comes back', async () => {
  const roomId = await sharedRoom();
  const { follower } = await startFollowing(await newUser(b, 'bertha'), roomId, [a.serverName]);
  const before = await alice.sendText(roomId, 'A is up');
  await follower.untilEvent(before);
  const hasIt = async () =>
    (await carol.request('GET', `/v3/rooms/${enc(roomId)}/event/${enc(before)}`)).status;
  await until('C has it too', async () => (await hasIt()) === 200);

  await Promise.all([a.proxy.kill(), a.synapse.kill()]);
  const meanwhile: string[] = [];
  for (let i = 1; i <= 5; i++) meanwhile.push(await carol.sendText(roomId, `A is down ${i}`));
  for (const id of meanwhile) await follower.untilEvent(id, FAILED_OVER_MS);
  const live = await carol.sendText(roomId, 'through C');
  await follower.untilEvent(live);

  await a.synapse.restart();
  await a.proxy.restart();
  alice.url = a.synapse.url;
  const back = await alice.sendText(roomId, 'A is back');
  await follower.untilEvent(back, FAILED_OVER_MS);
  expect(follower.gaps).toBe(0);
  expect(follower.ids).toEqual([before, ...meanwhile, live, back]);

  // Whoever begins to peek now finds the same room.
  const late = await startFollowing(await newUser(b, 'late'), roomId, [a.serverName]);
  const shown = idsOf(timelineOf(sectionOf(late.first, 'peek', roomId)));
  expect(shown.slice(-follower.ids.length)).toEqual(follower.ids);
});

it("A's last user leaves the room: its peeker is served through C, without a gap", async () => {
  const room = await sharedRoom();
  const { inbound: before } = await peekCounts(c);
  const bob = await newUser(b, 'bob');
  // A was away a moment ago: until B asks it again, all its users are told so.
  await until('A is asked again', async () => (await bob.peek(room, [a.serverName])).status === 200, 60_000);
  const { follower } = await startFollowing(bob, room, [a.serverName]);
  const sent = [await alice.sendText(room, 'the last of A'), await carol.sendText(room, 'from C')];
  for (const id of sent) await follower.untilEvent(id);
  await alice.leave(room);
  sent.push(await carol.sendText(room, 'while B looks for another server'));
  await until('B peeks through C', async () => (await peekCounts(c)).inbound > before, 30_000);
  sent.push(await carol.sendText(room, 'through C'));
  for (const id of sent) await follower.untilEvent(id, 30_000);
  expect(follower.gaps).toBe(0);
  expect(follower.ids.filter((id) => sent.includes(id))).toEqual(sent);
  expect(new Set(follower.ids).size).toBe(follower.ids.length);
  await follower.client.unpeek(room);
});
