import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { MatrixClient, SyncAnswer } from '../support/client.ts';
import { type EncryptedClient, readMessages, startEncrypted } from '../support/encrypted-client.ts';
import { type Site, startSite } from '../support/federation.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { newUser } from './accounts.ts';
import { cutConnections } from './cut-connections.ts';
import { stateOf, timelineOf } from './rooms.ts';
import { until } from './until.ts';

/** A new megolm session, and so a to-device message with its key, for each so many messages. */
const ROTATION = 2;
const EACH = 10;
const SEED = 2026;

let site: Site;
let host: MatrixClient;
const stopping: (() => void)[] = [];
beforeAll(async () => {
  site = await startSite({ name: 'a', proxyEnv: { PEEK_RATE_LIMIT: '10000/m' } });
  host = await newUser(site, 'host');
  host.url = site.synapse.url;
});
afterAll(async () => {
  for (const stop of stopping) stop();
  await site?.stop();
});

/** A world-readable room in which there is always something new, until `stop`. */
async function busyRoom(): Promise<{ roomId: string; sent: string[]; stop: () => Promise<void> }> {
  const roomId = await host.createWorldReadableRoom();
  const sent: string[] = [];
  let busy = true;
  const sending = (async () => {
    while (busy) {
      const id = await host.sendText(roomId, `busy ${sent.length}`).catch(() => null);
      if (id !== null) sent.push(id);
      await sleep(40);
    }
  })();
  const stop = () => {
    busy = false;
    return sending;
  };
  stopping.push(() => void stop());
  return { roomId, sent, stop };
}

async function untilSent(alice: EncryptedClient, roomId: string, text: string): Promise<string> {
  for (;;) {
    try {
      const content = { msgtype: 'm.text', body: text } as never;
      return (await alice.client.sendEvent(roomId, 'm.room.message' as never, content)).event_id;
    } catch {
      // The homeserver is away: what was not sent is sent again, under the same keys.
      await sleep(200);
    }
  }
}

it('End-to-end encrypted messages all reach a device that peeks beside them, however often its line breaks, the homeserver restarts or the proxy is killed', async () => {
  const [alice, bob] = [await newUser(site, 'alice'), await newUser(site, 'bob')];
  alice.url = site.synapse.url;
  const line = cutConnections(seededRandom(SEED), [0, 1_000, 2_000]);
  const sender = await startEncrypted(alice);
  const receiver = await startEncrypted(bob, line.fetch);
  stopping.push(sender.stop, receiver.stop);
  const encryption = { algorithm: 'm.megolm.v1.aes-sha2', rotation_period_msgs: ROTATION };
  const roomId = await alice.createRoom({
    preset: 'private_chat',
    invite: [bob.userId],
    initial_state: [{ type: 'm.room.encryption', state_key: '', content: encryption }],
  });
  await bob.join(roomId);
  await until('both are in the room', () =>
    [sender, receiver].every(({ client }) => client.getRoom(roomId)?.getJoinedMemberCount() === 2),
  );

  const busy = await busyRoom();
  expect((await bob.peek(busy.roomId)).status).toBe(200);
  const sent = new Map<string, string>();
  const send = async (count: number) => {
    for (let i = 0; i < count; i++) {
      const text = `message ${sent.size}`;
      sent.set(await untilSent(sender, roomId, text), text);
    }
  };
  await send(EACH);
  const restarted = site.synapse.restart();
  await send(EACH);
  await restarted;
  await site.proxy.kill();
  const back = site.proxy.restart();
  await send(EACH);
  await back;
  await until('peeking is on', async () => (await site.proxy.health()).status === 'ok');
  await send(EACH);
  await busy.stop();
  line.heal();

  const read = () => readMessages(receiver, roomId);
  await until('all has come', () => [...sent.keys()].every((id) => read().get(id) !== undefined), 30_000);
  await until('all is read', () => [...read().values()].every((text) => text !== null), 10_000).catch(
    () => undefined,
  );
  expect([...read()]).toEqual([...sent]);
  const sessions = new Set(
    receiver.client
      .getRoom(roomId)
      ?.getLiveTimeline()
      .getEvents()
      .map((event) => event.getWireContent().session_id),
  );
  expect(sessions.size).toBeGreaterThanOrEqual(sent.size / ROTATION);
  for (const fate of ['cut while it waits', 'cut at the head', 'answer lost']) {
    expect([fate, line.cuts.get(fate)]).toEqual([fate, expect.any(Number)]);
  }
  // Answers of the proxy's own, which were many, made it think of no keys that were used up.
  expect(receiver.keyUploads).toBeLessThan(5);
});

it('Lazily loaded members are there for every event that a peeking device is told, however often its line breaks', async () => {
  const bob = await newUser(site, 'bob');
  const roomId = await host.createRoom({ preset: 'public_chat' });
  await bob.join(roomId);
  const speakers: MatrixClient[] = [];
  for (let i = 0; i < 12; i++) {
    const speaker = await newUser(site, 'speaker');
    speaker.url = site.synapse.url;
    await speaker.join(roomId);
    speakers.push(speaker);
  }
  // What is new is never more than the limit; what is old is, so that no join is in the first answer.
  const filter = { room: { state: { lazy_load_members: true }, timeline: { limit: 40 } } };
  for (let i = 0; i < 40; i++) await host.sendText(roomId, `filling ${i}`);
  const first = await bob.sync({ filter });
  const busy = await busyRoom();
  expect((await bob.peek(busy.roomId)).status).toBe(200);

  // Not 0: asked for a second time while it waits, Synapse may send a member in the one answer or in the other.
  const line = cutConnections(seededRandom(SEED), [500, 1_000, 2_000]);
  const known = new Set<string>();
  const heard: string[] = [];
  const unknown: string[] = [];
  const peeked: string[] = [];
  let since = first.next_batch;
  const learn = ({ rooms }: SyncAnswer) => {
    const room = rooms.join[roomId];
    for (const { type, state_key } of [...stateOf(room), ...timelineOf(room)]) {
      if (type === 'm.room.member' && state_key !== undefined) known.add(state_key);
    }
    for (const { type, sender, event_id } of timelineOf(room)) {
      if (!known.has(sender)) unknown.push(sender);
      if (type === 'm.room.message') heard.push(event_id);
    }
    peeked.push(...timelineOf(rooms.peek[busy.roomId]).map(({ event_id }) => event_id));
  };
  learn(first);
  // Some are in the room's summary; the others come with what they say.
  expect(known.size).toBeLessThan(speakers.length);
  heard.length = 0;

  const step = async () => {
    const query = new URLSearchParams({ since, timeout: '2000', filter: JSON.stringify(filter) });
    const response = await line.fetch(`${bob.url}/_matrix/client/v3/sync?${query}`, {
      headers: { authorization: `Bearer ${bob.token}` },
    });
    expect(response.status).toBe(200);
    const body = (await response.json()) as SyncAnswer;
    const { join = {}, peek = {}, invite = {}, leave = {} } = body.rooms ?? {};
    learn({ ...body, rooms: { join, peek, invite, leave } });
    since = body.next_batch;
  };
  const spoken: string[] = [];
  let speaking = true;
  const speak = (async () => {
    for (let round = 0; round < 3; round++) {
      for (const speaker of speakers) spoken.push(await speaker.sendText(roomId, `round ${round}`));
    }
    speaking = false;
  })();
  while (speaking || heard.length < spoken.length) await step();
  await speak;
  await busy.stop();
  await until('the peeked room is read to its end', async () => {
    await step();
    return peeked.at(-1) === busy.sent.at(-1);
  });
  expect(unknown).toEqual([]);
  expect(heard).toEqual(spoken);
  const sentThere = new Set(busy.sent);
  expect(peeked.filter((id) => sentThere.has(id))).toEqual(busy.sent);
});
