import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Answer, type ClientEvent, enc, type Json, type MatrixClient } from '../support/client.ts';
import { type Site, startSite } from '../support/federation.ts';
import { send } from '../support/http.ts';
import { furtherDevice, newUser, registerOperator } from './accounts.ts';
import { homeserverState } from './rooms.ts';
import { until } from './until.ts';

/** The same request of a member and of a peeker: what the homeserver shows the one, the proxy shows the other. */
interface Wish {
  readonly filter: (room: Room) => Json;
  readonly stateAfter?: boolean;
  /** Changed state is told without a timeline; the homeserver tells nothing then, or (limit 0) one event too many. */
  readonly hasNoTimeline?: boolean;
  /** Changed state that is not wanted in the timeline is told; the homeserver forgets about it here. */
  readonly hasMoreState?: boolean;
}

interface Room {
  readonly id: string;
  readonly alice: string;
  readonly dora: string;
  readonly carl: string;
}

const timeline = (more: Json) => ({ filter: () => ({ room: { timeline: { limit: 4, ...more } } }) });
const state = (more: Json, limit = 8) => ({
  filter: () => ({ room: { timeline: { limit }, state: more } }),
});
const STATE_NAMES: readonly string[] = ['state', 'org.matrix.msc4222.state_after'];
const LAZY = { lazy_load_members: true };

const WISHES: Readonly<Record<string, Wish>> = {
  'a limit of 25': timeline({ limit: 25 }),
  'a limit of 8': timeline({ limit: 8 }),
  'a limit of 1': timeline({ limit: 1 }),
  'a limit of 0': { ...timeline({ limit: 0 }), hasNoTimeline: true },
  'types of the timeline': timeline({ types: ['m.room.message'] }),
  'types and a limit': timeline({ limit: 4, types: ['m.room.message'] }),
  'types by prefix': timeline({ types: ['m.room.m*'] }),
  'types not in the timeline': timeline({ not_types: ['m.room.message', 'm.room.t*'] }),
  'no types at all': { ...timeline({ types: [] }), hasNoTimeline: true },
  'types that do not occur': { ...timeline({ types: ['org.test.none'] }), hasNoTimeline: true },
  'a sender of the timeline': {
    filter: ({ dora }) => ({ room: { timeline: { limit: 5, senders: [dora] } } }),
  },
  'senders and types': {
    filter: ({ alice }) => ({
      room: { timeline: { limit: 3, senders: [alice], types: ['m.room.message'], not_types: ['m.sticker'] } },
    }),
  },
  'a sender not in the timeline': {
    filter: ({ alice }) => ({ room: { timeline: { limit: 6, not_senders: [alice] } } }),
  },
  'events with a url': timeline({ limit: 1, contains_url: true }),
  'events without a url': timeline({ limit: 9, contains_url: false }),
  'the room in the timeline’s list': {
    filter: ({ id }) => ({ room: { timeline: { limit: 9, rooms: [id] } } }),
  },
  'the room not in the timeline': {
    filter: ({ id }) => ({ room: { timeline: { limit: 9, not_rooms: [id] } } }),
    hasNoTimeline: true,
  },
  'events that others relate to': {
    ...timeline({ limit: 1, related_by_rel_types: ['m.thread', 'm.annotation'] }),
    hasMoreState: true,
  },
  'events that a sender relates to': {
    filter: ({ dora }) => ({ room: { timeline: { limit: 1, related_by_senders: [dora] } } }),
    hasMoreState: true,
  },
  'types of the state': state({ types: ['m.room.name', 'm.room.topic'] }),
  'types not in the state': state({ not_types: ['m.room.member'] }),
  'a sender of the state': {
    filter: ({ dora }) => ({ room: { timeline: { limit: 8 }, state: { senders: [dora] } } }),
  },
  'no state': state({ types: [] }),
  'the room not in the state': {
    filter: ({ id }) => ({ room: { timeline: { limit: 8 }, state: { not_rooms: [id] } } }),
  },
  'the room in the list': { filter: ({ id }) => ({ room: { rooms: [id], timeline: { limit: 8 } } }) },
  'the room not in the list': { filter: () => ({ room: { rooms: ['!other:x'], timeline: { limit: 8 } } }) },
  'the room excluded': { filter: ({ id }) => ({ room: { not_rooms: [id], timeline: { limit: 8 } } }) },
  'no room': { filter: () => ({ room: { rooms: [], timeline: { limit: 8 } } }) },
  'lazily loaded members': state(LAZY),
  'lazily loaded members, redundant ones too': state({ ...LAZY, include_redundant_members: true }),
  'lazily loaded members of a filtered timeline': {
    filter: ({ dora }) => ({ room: { timeline: { limit: 5, senders: [dora] }, state: LAZY } }),
    hasMoreState: true,
  },
  'lazily loaded members, and types of the state without them': state({ ...LAZY, types: ['m.room.name'] }),
  'event_format: federation': {
    filter: () => ({ event_format: 'federation', room: { timeline: { limit: 25 } } }),
  },
  event_fields: {
    filter: () => ({
      event_fields: ['type', 'content.body', 'content.m\\.relates_to.rel_type', 'event_id', 'state_key'],
      room: { timeline: { limit: 25 } },
    }),
  },
  include_leave: { filter: () => ({ room: { include_leave: true, timeline: { limit: 8 } } }) },
  'state after the timeline': { ...timeline({ limit: 8 }), stateAfter: true },
  'state after the timeline, types of it': {
    ...timeline({ limit: 8, types: ['m.room.message'] }),
    stateAfter: true,
  },
  'state after the timeline, lazily loaded members': { ...state(LAZY), stateAfter: true },
};

interface Section {
  readonly timeline: {
    readonly events: ClientEvent[];
    readonly limited: boolean;
    readonly prev_batch: string;
  };
  readonly [state: string]: unknown;
}

interface Devices {
  readonly member: MatrixClient;
  readonly peeker: MatrixClient;
}

interface Answered {
  readonly section: Section | undefined;
  readonly next: string;
}

describe('a peeked room is shown as the homeserver shows a joined one', () => {
  let site: Site;
  let alice: MatrixClient;
  let dora: MatrixClient;
  let bob: MatrixClient;
  let room: Room;
  /** All events of the room, oldest first. */
  let history: readonly string[];
  /** For each wish a device of its own, since the homeserver remembers what it has sent to one. */
  const devices = new Map<string, Devices>();
  const first = new Map<string, { readonly member: Answered; readonly peeker: Answered }>();

  const ask = async (client: MatrixClient, part: string, wish: Wish, since?: string): Promise<Answered> => {
    const query = new URLSearchParams({ timeout: '0', filter: JSON.stringify(wish.filter(room)) });
    if (since !== undefined) query.set('since', since);
    if (wish.stateAfter) query.set('org.matrix.msc4222.use_state_after', 'true');
    const { body } = await client.request('GET', `/v3/sync?${query}`);
    const rooms = (body.rooms ?? {}) as Record<string, Record<string, Section> | undefined>;
    return { section: rooms[part]?.[room.id], next: String(body.next_batch) };
  };

  beforeAll(async () => {
    const synapse = { settings: { experimental_features: { msc4222_enabled: true } } };
    site = await startSite({ name: 'a', proxyEnv: { PEEK_RATE_LIMIT: '10000/m' }, synapse });
    [alice, dora, bob] = [
      await newUser(site, 'alice'),
      await newUser(site, 'dora'),
      await newUser(site, 'bob'),
    ];
    const id = await alice.createWorldReadableRoom({ name: 'As joined', room_version: '11' });
    const carl = await newUser(site, 'carl');
    room = { id, alice: alice.userId, dora: dora.userId, carl: carl.userId };
    await carl.join(id);
    await dora.join(id);
    await talk(alice, dora, id);
    const { chunk } = await alice.require('GET', `/v3/rooms/${enc(id)}/messages?dir=b&limit=100`);
    history = (chunk as ClientEvent[]).map(({ event_id }) => event_id).toReversed();
    // MSC4222 is followed where the homeserver was seen to: in a room that the peeker is in.
    await bob.createRoom({});
    await ask(bob, 'join', { ...timeline({ limit: 1 }), stateAfter: true });
    for (const name of Object.keys(WISHES)) {
      const [member, peeker] = await Promise.all([furtherDevice(carl), furtherDevice(bob)]);
      await peeker.peek(id);
      devices.set(name, { member, peeker });
    }
  });
  afterAll(() => site?.stop());

  it.each(Object.entries(WISHES))('at first, asked for %s', async (name, wish) => {
    const asking = devices.get(name) as Devices;
    const member = await ask(asking.member, 'join', wish);
    const peeker = await ask(asking.peeker, 'peek', wish);
    first.set(name, { member, peeker });
    const ours = comparable(peeker.section, room);
    expect(ours).toEqual(asOurs(comparable(member.section, room), ours, wish));
    expect(membershipsIn(peeker.section)).toEqual([]);
    const [oldest] = peeker.section?.timeline.events ?? [];
    if (oldest === undefined || wish.filter(room).event_fields !== undefined) return;
    const from = enc(peeker.section?.timeline.prev_batch ?? '');
    const { chunk } = await bob.require(
      'GET',
      `/v3/rooms/${enc(room.id)}/messages?dir=b&limit=3&from=${from}`,
    );
    const before = history.slice(0, history.indexOf(oldest.event_id)).slice(-3).toReversed();
    expect((chunk as ClientEvent[]).map(({ event_id }) => event_id)).toEqual(before);
  });

  describe('a token of a peeking device', () => {
    let operator: MatrixClient;
    let own: { readonly roomId: string; readonly root: string };
    /** With our part in it, and the homeserver's own. */
    let wrapped: string;
    let bare: string;

    beforeAll(async () => {
      operator = await registerOperator(site.url, site.synapse.url, `operator-${Date.now()}`);
      const roomId = await bob.createRoom({});
      const root = await bob.sendText(roomId, 'root');
      await bob.send(roomId, 'm.room.message', related('m.thread', root, 'reply'));
      own = { roomId, root };
      await bob.peek(room.id);
      const peeking = await bob.sync();
      await bob.sync({ since: peeking.next_batch });
      wrapped = peeking.next_batch;
      const path = '/_matrix/client/v3/sync?timeout=0&filter={"room":{"timeline":{"limit":2}}}';
      bare = String((await send(site.synapse.url, 'GET', path, { token: bob.token })).body.next_batch);
      expect(wrapped.length).toBeGreaterThan(bare.length + 20);
    });

    const given = async (url: string, { path, admin, parameters }: Place, token: string) => {
      const { roomId, root } = own;
      const target = path.replace('ROOM', enc(roomId)).replace('EVENT', enc(root));
      const query = parameters.map((name) => `&${name}=${enc(token)}`).join('');
      return send(url, 'GET', `${target}${query}`, { token: (admin ? operator : bob).token });
    };
    const events = ({ body }: Answer) =>
      ((body.chunk ?? []) as ClientEvent[]).map(({ event_id }) => event_id);

    it.each(PLACES)('is taken in $parameters of $path, as the homeserver takes its own', async (place) => {
      const plain = await given(site.synapse.url, place, bare);
      expect(plain.status).toBe(200);
      for (const token of [wrapped, `${bare}.PEEK.oUdhcmJsZWQ`, `${bare}.PEEK.`]) {
        const answer = await given(site.url, place, token);
        expect([token, answer.status]).toEqual([token, 200]);
        expect(events(answer)).toEqual(events(plain));
      }
    });

    it.each([
      ['nonsense', 'nonsense'],
      ['of the homeserver that is broken, with our part', 's1_x.PEEK.oUdhcmJsZWQ'],
      ['cut off', 's44_17_4'],
    ])('%s gets the homeserver’s answer', async (_what, token) => {
      for (const place of PLACES) {
        const plain = await given(site.synapse.url, place, token.replace(/\.PEEK\..*/, ''));
        const answer = await given(site.url, place, token);
        expect([place.path, answer.status, answer.body.errcode]).toEqual([
          place.path,
          plain.status,
          plain.body.errcode,
        ]);
      }
    });

    it('of another device, another user, garbled or cut off never fails a sync, and peeks begin anew', async () => {
      const other = await furtherDevice(bob);
      await other.peek(room.id);
      const carl = await newUser(site, 'carl');
      await carl.peek(room.id);
      const field = wrapped.split('_')[8] ?? '';
      const tokens = [
        wrapped,
        wrapped.replace(field, `${field.slice(0, -1)}${(Number(field.at(-1)) + 1) % 10}`),
        wrapped.replace(field, field.slice(0, 30)),
        wrapped.replace(field, `9${field}`),
        `${bare}.PEEK.oQAAAA`,
      ];
      for (const client of [other, carl]) {
        for (const since of tokens) {
          const { rooms } = await client.sync({ since });
          expect(Object.keys(rooms.peek)).toEqual([room.id]);
          expect(rooms.peek[room.id]?.timeline?.limited).toBe(true);
        }
      }
    });
  });

  describe('later', () => {
    beforeAll(() => talkOn(alice, dora, room.id));

    it.each(Object.entries(WISHES))('it has what came since, asked for %s', async (name, wish) => {
      const before = first.get(name);
      const asking = devices.get(name) as Devices;
      const member = await ask(asking.member, 'join', wish, before?.member.next);
      const peeker = await ask(asking.peeker, 'peek', wish, before?.peeker.next);
      const ours = comparable(peeker.section, room);
      // Somebody types there, has read, and is online: nothing of it is for who peeks.
      const parts = Object.keys(peeker.section ?? {}).filter((part) => !STATE_NAMES.includes(part));
      expect(parts).toEqual(peeker.section === undefined ? [] : ['timeline', 'ephemeral']);
      const { ephemeral = { events: [] } } = (peeker.section ?? {}) as { ephemeral?: unknown };
      expect(ephemeral).toEqual({ events: [] });
      if (wish.hasNoTimeline) {
        const types = ours?.state?.map(({ type }) => type).toSorted();
        expect(types).toEqual(['m.room.member', 'm.room.name', 'm.room.topic']);
        expect(ours?.timeline).toEqual([]);
      } else expect(ours).toEqual(asOurs(comparable(member.section, room), ours, wish));
    });
  });

  it('a join brings what its peeker lacks: with what was told before, that is the state of the room', async () => {
    const eve = await newUser(site, 'eve');
    await eve.peek(room.id);
    const wish = timeline({ limit: 6 });
    const known = new Map<string, string>();
    const begun = await ask(eve, 'peek', wish);
    apply(known, begun.section as Section);
    await alice.sendState(room.id, 'm.room.topic', { topic: 'told' });
    let told = begun;
    await until('the topic is told', async () => {
      told = await ask(eve, 'peek', wish, begun.next);
      return told.section !== undefined;
    });
    apply(known, told.section as Section);
    await alice.sendState(room.id, 'm.room.avatar', { url: 'mxc://x/y' });
    await eve.join(room.id);
    let joined: Answered = told;
    await until('the room is joined', async () => {
      joined = await ask(eve, 'join', wish, told.next);
      return joined.section !== undefined;
    });
    const section = joined.section as Section;
    const { events } = section.state as { events: ClientEvent[] };
    const repeated = events.filter((e) => known.get(`${e.type} ${e.state_key}`) === e.event_id);
    expect(repeated).toEqual([]);
    apply(known, section);
    const sorted = new Map([...known].sort(([one], [other]) => (one < other ? -1 : 1)));
    expect(sorted).toEqual(await homeserverState(alice, room.id));
    expect((await ask(eve, 'peek', wish, joined.next)).section).toBeUndefined();
  });
});

interface Place {
  readonly path: string;
  /** Of the homeserver's operator. */
  readonly admin?: boolean;
  readonly parameters: readonly string[];
}

/** Where a client may give a token of `/sync`, with `ROOM` and `EVENT` for those of a room that it is in. */
const PLACES: readonly Place[] = [
  { path: '/_matrix/client/v3/sync?timeout=0', parameters: ['since'] },
  { path: '/_matrix/client/v3/rooms/ROOM/messages?dir=b&limit=3', parameters: ['from'] },
  {
    path: '/_matrix/client/v3/rooms/ROOM/messages?dir=f&limit=3&from=s0_0_0_0_0_0_0_0_0_0_0_0_0_0',
    parameters: ['to'],
  },
  { path: '/_matrix/client/v1/rooms/ROOM/relations/EVENT?dir=b', parameters: ['from'] },
  { path: '/_matrix/client/v1/rooms/ROOM/relations/EVENT/m.thread?dir=f', parameters: ['to'] },
  { path: '/_matrix/client/v3/rooms/ROOM/members?membership=join', parameters: ['at'] },
  { path: '/_matrix/client/v3/rooms/ROOM/initialSync?limit=2', parameters: ['from'] },
  { path: '/_matrix/client/v3/initialSync?limit=2', parameters: ['from'] },
  { path: '/_matrix/client/v3/events?timeout=0', parameters: ['from'] },
  { path: '/_matrix/client/v3/keys/changes?x=y', parameters: ['from', 'to'] },
  { path: '/_synapse/admin/v1/rooms/ROOM/messages?dir=b&limit=3', admin: true, parameters: ['from'] },
];

/** What a client takes for the room's state, sections applied one after the other. */
function apply(known: Map<string, string>, { state, timeline }: Section): void {
  const { events } = state as { events: ClientEvent[] };
  for (const { type, state_key, event_id } of [...events, ...timeline.events]) {
    if (state_key !== undefined) known.set(`${type} ${state_key}`, event_id);
  }
}

async function talk(alice: MatrixClient, dora: MatrixClient, id: string): Promise<void> {
  await named(alice, id, 'Alice of old');
  for (let i = 0; i < 12; i++) await alice.sendText(id, `long ago ${i}`);
  await alice.sendState(id, 'm.room.topic', { topic: 'one' });
  await alice.sendState(id, 'm.room.topic', { topic: 'two' });
  const first = await alice.sendText(id, 'first');
  const edited = await alice.sendText(id, 'edited');
  const root = await alice.sendText(id, 'root of a thread');
  const regretted = await dora.sendText(id, 'regretted');
  await alice.send(id, 'm.room.message', { msgtype: 'm.image', body: 'image', url: 'mxc://x/y' });
  await dora.send(id, 'm.sticker', { body: 'sticker', url: 'mxc://x/z', info: {} });
  await edit(alice, id, edited, 'once');
  await edit(alice, id, edited, 'twice');
  const reply = await dora.send(id, 'm.room.message', related('m.thread', root, 'reply'));
  await edit(dora, id, reply, 'better');
  await dora.send(id, 'm.room.message', related('m.thread', root, 'another reply'));
  await dora.send(id, 'org.test.reference', related('m.reference', first, 'reference'));
  await dora.send(id, 'm.reaction', {
    'm.relates_to': { rel_type: 'm.annotation', event_id: first, key: '!' },
  });
  await alice.redact(id, regretted);
  await named(dora, id, 'Dora');
  await dora.sendText(id, 'last');
}

async function talkOn(alice: MatrixClient, dora: MatrixClient, id: string): Promise<void> {
  const message = await alice.sendText(id, 'message');
  await alice.sendState(id, 'm.room.topic', { topic: 'three' });
  await dora.sendText(id, 'of Dora');
  await alice.sendState(id, 'm.room.topic', { topic: 'four' });
  await edit(alice, id, message, 'edited');
  await alice.sendState(id, 'm.room.name', { name: 'Renamed' });
  const typing = { typing: true, timeout: 120_000 };
  await dora.require('PUT', `/v3/rooms/${enc(id)}/typing/${enc(dora.userId)}`, typing);
  await dora.require('POST', `/v3/rooms/${enc(id)}/receipt/m.read/${enc(message)}`, {});
  await dora.send(id, 'm.room.message', related('m.thread', message, 'reply'));
  await named(alice, id, 'Alice');
  const regretted = await alice.sendText(id, 'regretted');
  await alice.redact(id, regretted);
  for (let i = 0; i < 4; i++) await alice.sendText(id, `more ${i}`);
  await dora.send(id, 'm.reaction', {
    'm.relates_to': { rel_type: 'm.annotation', event_id: message, key: '!' },
  });
  await alice.send(id, 'm.room.message', { msgtype: 'm.image', body: 'image', url: 'mxc://x/y' });
}

function related(type: string, eventId: string, body: string): Json {
  return { msgtype: 'm.text', body, 'm.relates_to': { rel_type: type, event_id: eventId } };
}

function edit(client: MatrixClient, roomId: string, eventId: string, body: string): Promise<string> {
  const content = { msgtype: 'm.text', body };
  const relates = { ...related('m.replace', eventId, `* ${body}`), 'm.new_content': content };
  return client.send(roomId, 'm.room.message', relates);
}

/** Synapse tells rooms of a new name in the background. */
async function named(client: MatrixClient, roomId: string, displayname: string): Promise<void> {
  await client.require('PUT', `/v3/profile/${enc(client.userId)}/displayname`, { displayname });
  const path = `/v3/rooms/${enc(roomId)}/state/m.room.member/${enc(client.userId)}`;
  await until('the room knows the name', async () => {
    return (await client.require('GET', path)).displayname === displayname;
  });
}

interface Comparable {
  readonly timeline: readonly Json[];
  readonly limited: boolean;
  readonly state?: readonly Json[];
}

/** What the homeserver shows, but for the few things that are known to be otherwise here. */
function asOurs(
  theirs: Comparable | undefined,
  ours: Comparable | undefined,
  wish: Wish,
): Comparable | undefined {
  if (theirs === undefined || ours === undefined) return theirs;
  // The homeserver says so as well where all that is missing is what the filter does not want.
  const limited = theirs.limited && (ours.limited || theirs.timeline.length === 0);
  // A first section always is; a joined room is not where there is nothing of it.
  const isEmpty = theirs.timeline.length === 0;
  // Of state that changed unseen by the filter, Synapse gives the old or the new, as its sets are ordered.
  const newer = new Map((ours.state ?? []).map((event) => [replacedBy(event), event]));
  const state = theirs.state?.map((event) => newer.get(event.event_id) ?? event);
  const more = wish.hasMoreState
    ? (ours.state ?? []).filter(({ event_id: id }) => !state?.some((event) => event.event_id === id))
    : [];
  return {
    ...theirs,
    ...(state && { state: [...state, ...more].toSorted(byText) }),
    limited: isEmpty ? ours.limited : limited,
  };
}

function replacedBy({ unsigned }: Json): unknown {
  return (unsigned as Json | undefined)?.replaces_state ?? {};
}

/** Without what the homeserver tells members alone, and what depends on the moment and on who asks. */
function comparable(section: Section | undefined, { carl }: Room): Comparable | undefined {
  if (section === undefined) return undefined;
  const { timeline, account_data, ephemeral, unread_notifications, summary, ...rest } = section;
  // Synapse takes the state after the timeline's first event for the one before it.
  const [oldest] = timeline.events;
  const replaced = oldest && replacedBy(oldest);
  const states = Object.entries(rest).map(([name, value]) => {
    const all = (value as { events: ClientEvent[] }).events;
    const events = all.filter(({ event_id, state_key }) => event_id !== replaced && state_key !== carl);
    return [name, events.map(plain).map(withoutReplaced).toSorted(byText)];
  });
  const { events, limited } = timeline;
  return { ...(Object.fromEntries(states) as object), timeline: events.map(plain), limited };
}

const byText = (one: unknown, other: unknown) => (JSON.stringify(one) < JSON.stringify(other) ? -1 : 1);

/** The homeserver shows strangers what a state event replaced, be it from before the room was open. */
function withoutReplaced(event: Json): Json {
  const { prev_content, prev_sender, ...unsigned } = (event.unsigned ?? {}) as Json;
  return event.unsigned ? { ...event, unsigned } : event;
}

function plain(event: ClientEvent): Json {
  const ageless = JSON.parse(
    JSON.stringify(event, (key, value) => (key === 'age' ? undefined : value)),
  ) as Json;
  const { membership, ...unsigned } = (ageless.unsigned ?? {}) as Json;
  const shown: Json = { ...ageless, ...(event.unsigned ? { unsigned } : {}) };
  return Object.fromEntries(Object.entries(shown).toSorted(([one], [other]) => (one < other ? -1 : 1)));
}

function membershipsIn(section: Section | undefined): unknown[] {
  const events = section?.timeline.events ?? [];
  return events
    .map((event) => (event.unsigned as Json | undefined)?.membership ?? 'leave')
    .filter((membership) => membership !== 'leave');
}
