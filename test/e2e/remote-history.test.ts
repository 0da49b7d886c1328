import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ClientEvent, enc, type Json, type MatrixClient } from '../support/client.ts';
import { newUser } from './accounts.ts';
import { authorizationOf, sendBytes } from './federation-requests.ts';
import { idsOf, sectionOf, timelineOf } from './rooms.ts';
import { onStore, type StoredPair } from './stores.ts';
import { until } from './until.ts';

/** What one user sees of an event and another need not: when it was asked for, and who asks. */
const OWN = new Set(['age', 'membership', 'transaction_id']);
/** What Synapse adds to events of this endpoint, for clients of old. */
const OF_OLD = new Set(['user_id', 'age', 'replaces_state', 'prev_content', 'redacted_because']);

function comparable(event: unknown): unknown {
  const { unsigned = {}, ...rest } = event as Json & { unsigned?: Json };
  const shown = Object.fromEntries(Object.entries(rest).filter(([name]) => !OF_OLD.has(name)));
  return {
    ...shown,
    unsigned: Object.fromEntries(
      Object.entries(unsigned)
        .filter(
          ([name]) => !OWN.has(name) && !['replaces_state', 'prev_content', 'prev_sender'].includes(name),
        )
        .map(([name, value]) => [
          name,
          JSON.parse(
            JSON.stringify(value, (key, inner) => (OWN.has(key) || OF_OLD.has(key) ? undefined : inner)),
          ),
        ]),
    ),
  };
}

onStore('SQLite', ({ startPairOnStore }) => {
  let pair: StoredPair;
  let alice: MatrixClient;
  /** A member who never says anything. */
  let carol: MatrixClient;
  let bob: MatrixClient;
  let roomId: string;
  /** What a member of A has of the room, newest first. */
  let whole: ClientEvent[];
  let named: {
    root: string;
    edited: string;
    redacted: string;
    edit: string;
    early: string;
    replies: string[];
  };
  let since: string;
  let prevBatch: string;

  const read = (who: MatrixClient, path: string) => who.request('GET', `/v1/rooms/${enc(roomId)}/${path}`);
  const old = (who: MatrixClient, path: string) => who.request('GET', `/v3/rooms/${enc(roomId)}/${path}`);

  async function pages(
    who: MatrixClient,
    from: string | null,
    limit: number,
    filter = '',
  ): Promise<ClientEvent[]> {
    const events: ClientEvent[] = [];
    for (let token = from, i = 0; i < 60; i++) {
      const at = token === null ? '' : `&from=${token}`;
      const { body, status } = await old(who, `messages?dir=b&limit=${limit}${at}${filter}`);
      expect({ status, body }).toMatchObject({ status: 200 });
      events.push(...(body.chunk as ClientEvent[]));
      if (typeof body.end !== 'string') return events;
      token = body.end;
    }
    throw new Error('the history does not end');
  }

  beforeAll(async () => {
    pair = await startPairOnStore();
    [alice, bob] = await Promise.all([newUser(pair.a, 'alice'), newUser(pair.b, 'bob')]);
    const dave = await newUser(pair.a, 'dave');
    carol = await newUser(pair.a, 'carol');
    roomId = await alice.createWorldReadableRoom({ name: 'The library' });
    await dave.join(roomId);
    await carol.join(roomId);
    const early = await alice.sendText(roomId, 'the very first');
    const edited = await alice.sendText(roomId, 'a sentense');
    const redacted = await dave.sendText(roomId, 'something rash');
    const root = await dave.sendText(roomId, 'a question');
    const edit = await alice.send(roomId, 'm.room.message', {
      msgtype: 'm.text',
      body: '* a sentence',
      'm.new_content': { msgtype: 'm.text', body: 'a sentence' },
      'm.relates_to': { rel_type: 'm.replace', event_id: edited },
    });
    const replies: string[] = [];
    for (const body of ['an answer', 'another answer']) {
      const relation = { 'm.relates_to': { rel_type: 'm.thread', event_id: root } };
      replies.push(await alice.send(roomId, 'm.room.message', { msgtype: 'm.text', body, ...relation }));
    }
    await alice.sendState(roomId, 'm.room.topic', { topic: 'Books' });
    await alice.redact(roomId, redacted);
    const senders = [alice, dave];
    for (let i = 0; i < 60; i++)
      await Promise.all(senders.map((who) => who.sendText(roomId, `at once ${i}`)));
    for (let i = 0; i < 80; i++) await (senders[i % 2] as MatrixClient).sendText(roomId, `message ${i}`);
    named = { root, edited, redacted, edit, early, replies };
    whole = await pages(carol, null, 100);
    expect(whole.length).toBeGreaterThan(210);

    const before = await bob.sync();
    expect(await bob.peek(roomId, [pair.a.serverName])).toMatchObject({ status: 200 });
    const sync = await bob.sync({ since: before.next_batch, timeout: 10_000 });
    since = sync.next_batch;
    const section = sectionOf(sync, 'peek', roomId);
    prevBatch = section.timeline?.prev_batch ?? '';
    const shown = idsOf(timelineOf(section)).toReversed();
    expect(shown).toEqual(idsOf(whole).slice(0, shown.length));
    whole = whole.slice(shown.length);
  });
  afterAll(() => pair?.stop());

  it('Who peeks into a room of another server pages back through all of it, as its members do', async () => {
    const told = await pages(bob, prevBatch, 40);
    expect(idsOf(told)).toEqual(idsOf(whole));
    expect(told.map(comparable)).toEqual(whole.map(comparable));
    expect(told.at(-1)).toMatchObject({ type: 'm.room.create' });
  });

  it('The same with other pages, a filter, and forward from the beginning', async () => {
    expect(idsOf(await pages(bob, prevBatch, 7))).toEqual(idsOf(whole));
    const filter = `&filter=${enc(JSON.stringify({ types: ['m.room.topic', 'm.room.name'] }))}`;
    const state = whole.filter(({ type }) => ['m.room.topic', 'm.room.name'].includes(type));
    expect(idsOf(await pages(bob, prevBatch, 7, filter))).toEqual(idsOf(state));
    const { body } = await old(bob, 'messages?dir=f&limit=100');
    expect(idsOf(body.chunk as ClientEvent[])).toEqual(idsOf(whole).toReversed().slice(0, 100));
  });

  describe('An event of long ago', () => {
    it.each(['edited', 'redacted', 'root', 'early'] as const)('is as a member gets it: %s', async (which) => {
      const [theirs, ours] = await Promise.all(
        [carol, bob].map((who) => old(who, `event/${enc(named[which])}`)),
      );
      expect(ours).toMatchObject({ status: 200 });
      expect(comparable(ours?.body)).toEqual(comparable(theirs?.body));
    });

    it('stands in the same context', async () => {
      const [theirs, ours] = await Promise.all(
        [carol, bob].map((who) => old(who, `context/${enc(named.root)}?limit=9`)),
      );
      expect(ours).toMatchObject({ status: 200 });
      for (const part of ['events_before', 'events_after']) {
        expect(idsOf(ours?.body[part] as ClientEvent[])).toEqual(idsOf(theirs?.body[part] as ClientEvent[]));
      }
      const on = await old(bob, `messages?dir=f&limit=5&from=${String(ours?.body.end)}`);
      const after = idsOf(ours?.body.events_after as ClientEvent[]).at(-1) ?? '';
      const at = idsOf(whole).indexOf(after);
      expect(idsOf(on.body.chunk as ClientEvent[])).toEqual(
        idsOf(whole)
          .slice(at - 5, at)
          .toReversed(),
      );
    });

    it('has the same relations, threads and place in time', async () => {
      const paths = [
        `relations/${enc(named.root)}`,
        `relations/${enc(named.root)}/m.thread?dir=f`,
        `relations/${enc(named.edited)}/m.replace/m.room.message`,
        'threads?limit=5',
        `timestamp_to_event?dir=f&ts=${whole.find(({ event_id }) => event_id === named.root)?.origin_server_ts}`,
      ];
      for (const path of paths) {
        const [theirs, ours] = await Promise.all([carol, bob].map((who) => read(who, path)));
        expect(ours, path).toMatchObject({ status: 200 });
        const told = (body: Json = {}) =>
          (body.chunk as ClientEvent[] | undefined)?.map(comparable) ?? body.event_id;
        expect(told(ours?.body), path).toEqual(told(theirs?.body));
      }
    });

    it('that is none ⇒ 404', async () => {
      const missing = `$${'x'.repeat(43)}`;
      for (const path of [`event/${missing}`, `context/${missing}`]) {
        expect(await old(bob, path)).toMatchObject({ status: 404, body: { errcode: 'M_NOT_FOUND' } });
      }
    });
  });

  describe('The event of a time of long ago', () => {
    const asked = (room: string, ts: unknown, dir: string) =>
      `/_matrix/federation/v1/timestamp_to_event/${enc(room)}?ts=${ts}&dir=${dir}`;

    it('is asked of the peeked server, which answers where its homeserver does not', async () => {
      const ts = whole.find(({ event_id }) => event_id === named.edited)?.origin_server_ts;
      const [theirs, ours] = await Promise.all(
        [carol, bob].map((who) => read(who, `timestamp_to_event?dir=b&ts=${ts}`)),
      );
      expect(ours).toMatchObject({ status: 200, body: { event_id: theirs?.body.event_id } });
      // Who asked A's homeserver, and what it answered: the peeking server in vain, then its own proxy.
      await until('the homeserver has written it down', async () => {
        const lines = (await readFile(pair.a.synapse.log, 'utf8')).split('\n');
        const told = lines
          .filter((line) => line.includes(`"GET ${asked(roomId, ts, 'b')} `))
          .map((line) => [/\{([^}]*)\} Processed/.exec(line)?.[1], / (\d{3}) "GET/.exec(line)?.[1]]);
        const { a, b } = pair;
        return (
          JSON.stringify(told) ===
          JSON.stringify([
            [b.serverName, '403'],
            [a.serverName, '200'],
          ])
        );
      });
    });

    it('that was not world-readable when it was sent ⇒ 404 to servers, and clients are told the next one that was', async () => {
      const room = await alice.createRoom({ preset: 'public_chat' });
      const hidden = await alice.sendText(room, 'among ourselves');
      const { body } = await alice.request('GET', `/v3/rooms/${enc(room)}/event/${enc(hidden)}`);
      const visibility = { history_visibility: 'world_readable' };
      const opening = await alice.sendState(room, 'm.room.history_visibility', visibility);
      expect(await bob.peek(room, [pair.a.serverName])).toMatchObject({ status: 200 });
      const ask = async (dir: string) => {
        const uri = asked(room, body.origin_server_ts, dir);
        const authorization = await authorizationOf({
          method: 'GET',
          uri,
          from: pair.b,
          to: pair.a.serverName,
        });
        const { status, text } = await sendBytes(pair.a.url, 'GET', uri, { authorization }, null);
        return { status, body: JSON.parse(text) as Json };
      };
      for (const dir of ['b', 'f']) {
        expect(await ask(dir)).toMatchObject({ status: 404, body: { errcode: 'M_NOT_FOUND' } });
      }
      const path = `/v1/rooms/${enc(room)}/timestamp_to_event?ts=${body.origin_server_ts}`;
      expect(await bob.request('GET', `${path}&dir=f`)).toMatchObject({ body: { event_id: opening } });
      // The room was opened as it was made: of what came before, its present state is shown.
      const before = await bob.request('GET', `${path}&dir=b`);
      expect(before).toMatchObject({ status: 200, body: { event_id: expect.not.stringContaining(hidden) } });
      await bob.unpeek(room);
    });
  });

  it('A token of the peek pages on after the user has joined the room', async () => {
    const { body } = await old(bob, `messages?dir=b&limit=40&from=${prevBatch}`);
    await bob.join(roomId, [pair.a.serverName]);
    await bob.syncUntil(since, ({ rooms }) => roomId in rooms.join);
    for (const [token, rest] of [
      [prevBatch, whole],
      [String(body.end), whole.slice(40)],
    ] as const) {
      let told: string[] = [];
      // The homeserver fetches the history of a room that it has just joined while it is paged through.
      await until('the homeserver has all of it', async () => {
        told = idsOf(await pages(bob, token, 50));
        return told.length >= rest.length;
      });
      // What was sent at the same moment has an order of its own on each homeserver.
      expect(told.toSorted()).toEqual(idsOf(rest).toSorted());
      expect(told[0]).toBe(rest[0]?.event_id);
      // They were members before all of it.
      const members = await old(bob, `members?membership=join&at=${token}`);
      const names = (members.body.chunk as ClientEvent[] | undefined)?.map((event) => event.state_key);
      expect(names).toEqual(expect.arrayContaining([alice.userId, carol.userId]));
    }
  });
});
