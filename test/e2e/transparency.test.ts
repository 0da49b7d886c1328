import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { enc, type MatrixClient } from '../support/client.ts';
import { type Answer, send } from '../support/http.ts';
import { furtherDevice, newUser } from './accounts.ts';
import { startFollowing } from './follower.ts';
import { idsOf, sectionOf, timelineOf } from './rooms.ts';
import { forEachStore, type StoredPair } from './stores.ts';

/** Without what has an age (`unsigned`, presence): what is left is the same whenever it is asked for. */
const TIMELESS = {
  event_fields: ['type', 'content', 'event_id', 'sender', 'state_key', 'origin_server_ts'],
  presence: { not_types: ['*'] },
};

forEachStore((_store, { startPairOnStore }) => {
  let pair: StoredPair;
  let alice: MatrixClient;
  beforeAll(async () => {
    pair = await startPairOnStore();
    alice = await newUser(pair.a, 'alice');
  });
  afterAll(() => pair?.stop());

  /** The same request through the proxy and to the homeserver itself. */
  async function both(client: MatrixClient, path: string): Promise<{ proxied: Answer; bare: Answer }> {
    const target = `/_matrix/client${path}`;
    const options = { token: client.token };
    const proxied = await send(pair.a.url, 'GET', target, options);
    return { proxied, bare: await send(pair.a.synapse.url, 'GET', target, options) };
  }

  it('A device that never peeked gets from the proxy what the homeserver sends, body byte for byte', async () => {
    const [joined, peeked] = [
      await alice.createRoom({ preset: 'public_chat' }),
      await alice.createWorldReadableRoom(),
    ];
    const bob = await newUser(pair.a, 'bob');
    await bob.join(joined);
    await startFollowing(await furtherDevice(bob), peeked);
    const message = await alice.sendText(joined, 'for members');

    const filter = enc(JSON.stringify(TIMELESS));
    const whole = await both(bob, `/v3/sync?set_presence=offline&filter=${filter}`);
    expect(whole.bare.text).toContain(message);
    const since = enc(String(whole.bare.body.next_batch));
    const idle = await both(bob, `/v3/sync?set_presence=offline&filter=${filter}&since=${since}&timeout=0`);
    const waited = await both(
      bob,
      `/v3/sync?set_presence=offline&filter=${filter}&since=${since}&timeout=200`,
    );
    const full = await both(
      bob,
      `/v3/sync?set_presence=offline&filter=${filter}&full_state=true&since=${since}`,
    );
    const wrong = await both(bob, `/v3/sync?since=nonsense`);
    expect(wrong.bare.status).not.toBe(200);
    for (const { proxied, bare } of [whole, idle, waited, full, wrong]) {
      expect(proxied.status).toBe(bare.status);
      expect(proxied.headers['content-type']).toBe(bare.headers['content-type']);
      expect(proxied.text).toBe(bare.text);
    }
  });

  describe.each(['a', 'b'] as const)('while it peeks into a room of site %s', (where) => {
    it("A peeking device's token is accepted by the bare homeserver and through the proxy, and a bare token goes on working through the proxy", async () => {
      const creator = where === 'a' ? alice : await newUser(pair.b, 'creator');
      const peeked = await creator.createWorldReadableRoom();
      const joined = await alice.createRoom({ preset: 'public_chat' });
      const bob = await newUser(pair.a, 'bob');
      await bob.join(joined);
      const message = await alice.sendText(joined, 'for members');
      const { follower, first } = await startFollowing(bob, peeked, [pair[where].serverName]);
      sectionOf(first, 'peek', peeked);

      const bareSync = `/_matrix/client/v3/sync?timeout=0`;
      const bare = (await send(pair.a.synapse.url, 'GET', bareSync, { token: bob.token })).body;
      for (const token of [follower.since, String(bare.next_batch)]) {
        const value = enc(token);
        const history = await both(bob, `/v3/rooms/${enc(joined)}/messages?dir=b&from=${value}&limit=5`);
        const members = await both(bob, `/v3/rooms/${enc(joined)}/members?at=${value}`);
        const keys = await both(bob, `/v3/keys/changes?from=${value}&to=${value}`);
        const sync = await both(bob, `/v3/sync?since=${value}&timeout=0`);
        for (const { proxied, bare } of [history, members, keys, sync]) {
          expect([proxied.status, bare.status]).toEqual([200, 200]);
        }
        for (const { text } of Object.values(history)) expect(text).toContain(message);
        for (const { text } of Object.values(members)) expect(text).toContain(alice.userId);
        expect(keys.proxied.text).toBe(keys.bare.text);
      }
      expect(follower.since).not.toBe(bare.next_batch);

      // The client is pointed at the bare homeserver and goes on from where it is, and back again.
      const next = await alice.sendText(joined, 'while the proxy is bypassed');
      bob.url = pair.a.synapse.url;
      const without = await bob.syncUntil(follower.since, ({ rooms }) => joined in rooms.join);
      expect(idsOf(timelineOf(sectionOf(without, 'join', joined)))).toContain(next);
      bob.url = pair.a.url;
      const again = await bob.syncUntil(without.next_batch, ({ rooms }) => peeked in rooms.peek);
      expect(idsOf(timelineOf(again.rooms.join[joined]))).not.toContain(next);
    });
  });
});
