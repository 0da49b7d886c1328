import { beforeAll, expect, it } from 'vitest';
import { enc, type MatrixClient } from '../support/client.ts';
import type { Site } from '../support/federation.ts';
import { type Answer, type Json, send } from '../support/http.ts';
import { newUser } from './accounts.ts';

const PATH = '/_matrix/client/unstable/org.matrix.simplified_msc3575/sync';

/** Defines the tests of what docs/SLIDING-SYNC.md says of Synapse, and that the proxy leaves it alone. */
export function slidingSyncTests(siteNow: () => Site): void {
  let site: Site;
  let alice: MatrixClient;
  let roomId: string;
  beforeAll(async () => {
    site = siteNow();
    alice = await newUser(site, 'alice');
    roomId = await alice.createWorldReadableRoom({ name: 'The lobby' });
    for (let i = 1; i <= 3; i++) await alice.sendText(roomId, `said ${i}`);
  });

  function slide(
    client: MatrixClient,
    pos?: unknown,
    body: Json = subscription(),
    url = site.url,
  ): Promise<Answer> {
    const query = pos === undefined ? '' : `&pos=${enc(String(pos))}`;
    return send(url, 'POST', `${PATH}?timeout=0${query}`, { token: client.token, body });
  }

  function subscription(limit = 20): Json {
    return {
      room_subscriptions: { [roomId]: { timeline_limit: limit, required_state: [['m.room.name', '']] } },
    };
  }

  function timelineOf(answer: Answer): string[] | undefined {
    const room = (answer.body.rooms as Record<string, { timeline: { content: Json }[] }>)[roomId];
    return room?.timeline.map(({ content }) => String(content.body));
  }

  it('a subscription to a room that the device peeks or could read ⇒ nothing of it, as without the proxy', async () => {
    const bob = await newUser(site, 'bob');
    const read = await slide(bob);
    expect(await bob.peek(roomId)).toMatchObject({ status: 200 });
    for (const answer of [
      read,
      await slide(bob),
      await slide(bob, undefined, subscription(), site.synapse.url),
    ])
      expect(answer).toMatchObject({ status: 200, body: { rooms: {} } });
  });

  it('a number in the ninth field of pos ⇒ the bare homeserver goes on from there; anything behind it ⇒ 400', async () => {
    const carol = await newUser(site, 'carol');
    await carol.join(roomId);
    const first = await slide(carol);
    expect(timelineOf(first)?.slice(-4, -1)).toEqual(['said 1', 'said 2', 'said 3']);
    await alice.sendText(roomId, 'said after');
    const [connection, token = ''] = String(first.body.pos).split('/');
    const fields = token.split('_');
    fields[8] = '9'.repeat(1500);
    const riding = await slide(carol, `${connection}/${fields.join('_')}`, subscription(), site.synapse.url);
    expect(timelineOf(riding)).toEqual(['said after']);
    expect(await slide(carol, `${riding.body.pos}.PEEK.x`)).toMatchObject({
      status: 400,
      body: { errcode: 'M_UNKNOWN' },
    });
  });

  it('the same pos again ⇒ the same events; a subscription that is left out ⇒ silence', async () => {
    const dora = await newUser(site, 'dora');
    await dora.join(roomId);
    const { pos } = (await slide(dora)).body;
    await alice.sendText(roomId, 'said twice');
    const answers = [await slide(dora, pos), await slide(dora, pos)];
    expect(answers.map(timelineOf)).toEqual([['said twice'], ['said twice']]);
    const { pos: next } = answers[1]?.body ?? {};
    await alice.sendText(roomId, 'said to nobody');
    expect(await slide(dora, next, {})).toMatchObject({ status: 200, body: { rooms: {} } });
  });
}
