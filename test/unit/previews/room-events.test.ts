import { beforeEach, describe, expect, test } from 'vitest';
import { remoteHistoryToken } from '../../../src/client-view/history-token.ts';
import type { JsonObject } from '../../../src/matrix/json.ts';
import { ALICE, PEER, PeekingHouse } from '../../support/peeking-house.ts';
import { messagesOf, type PreviewAnswer, PreviewHouse, REFUSED, said } from '../../support/preview-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';

const MINUTE = 60_000;

let preview: PreviewHouse;
let room: RoomBuilder;
beforeEach(async () => {
  preview = await PreviewHouse.open();
  room = preview.remote(new RoomBuilder());
  room.message('before');
  await preview.initialSync(room);
});

const placeToken = (position: number) => remoteHistoryToken({ kind: 'log', position, beside: null });
const chunkOf = (answer: PreviewAnswer) => said(answer.body.chunk);
const endOf = (answer: PreviewAnswer) => String(answer.body.end);
const expectRefused = (answer: PreviewAnswer) =>
  expect([answer.status, answer.text, answer.headers.get('x-homeserver')]).toEqual([403, REFUSED, 'own']);

/** Resolves when so many polls are held. */
async function untilHeld(count: number): Promise<void> {
  while (preview.held.count < count) await new Promise((resolve) => setImmediate(resolve));
  await preview.house.settle();
}

describe('a poll of a previewed room', () => {
  test('without a place goes on where the initial sync ended: nothing is lost in between', async () => {
    await preview.house.ingest(room, [room.message('one'), room.message('two')]);
    const first = await preview.events(room);
    expect(first.status).toBe(200);
    expect(chunkOf(first)).toEqual(['one', 'two']);
    const [event] = first.body.chunk as { room_id: string; event_id: string; unsigned: unknown }[];
    expect(event).toMatchObject({ room_id: room.roomId, event_id: room.events.at(-2)?.eventId });
    // The answer may have been lost: it is the same again.
    expect(chunkOf(await preview.events(room))).toEqual(['one', 'two']);
  });

  test('goes on where the last one ended', async () => {
    await preview.house.ingest(room, [room.message('one')]);
    const first = await preview.events(room);
    await preview.house.ingest(room, [room.message('two')]);
    const second = await preview.events(room, { from: endOf(first) });
    expect(chunkOf(second)).toEqual(['two']);
    expect(second.body.start).toBe(first.body.end);
    const third = await preview.events(room, { from: endOf(second) });
    expect([chunkOf(third), endOf(third)]).toEqual([[], endOf(second)]);
  });

  test('is answered as soon as something is said', async () => {
    const waiting = preview.events(room, { timeout: '30000' });
    await untilHeld(1);
    await preview.house.ingest(room, [room.message('now')]);
    expect(chunkOf(await waiting)).toEqual(['now']);
  });

  test('ends empty when its time is over, or two minutes are', async () => {
    const answered: string[] = [];
    const waiting = ['30000', '999999999'].map((timeout) =>
      preview.events(room, { timeout }).then((answer) => {
        answered.push(timeout);
        return answer;
      }),
    );
    await untilHeld(2);
    await preview.house.clock.advance(29_999);
    expect(answered).toEqual([]);
    await preview.house.clock.advance(1);
    expect(chunkOf((await waiting[0]) as PreviewAnswer)).toEqual([]);
    await preview.house.clock.advance(90_000);
    expect((await waiting[1])?.status).toBe(200);
  });

  test('has each device go on at its own place', async () => {
    await preview.house.ingest(room, [room.message('one')]);
    await preview.initialSync(room, 'limit=20', 'tablet');
    await preview.house.ingest(room, [room.message('two')]);
    expect(chunkOf(await preview.events(room))).toEqual(['one', 'two']);
    expect(chunkOf(await preview.events(room, {}, 'tablet'))).toEqual(['two']);
  });

  test('has many events in several answers, each one once', async () => {
    const many = room.messages(250);
    for (let i = 0; i < many.length; i += 50) await preview.house.ingest(room, many.slice(i, i + 50));
    const seen: string[] = [];
    let from: Record<string, string> = {};
    for (let polls = 0; polls < 3; polls++) {
      const answer = await preview.events(room, from);
      seen.push(...chunkOf(answer));
      from = { from: endOf(answer) };
    }
    expect(seen).toEqual(many.map(({ pdu }) => pdu.content.body));
    expect(chunkOf(await preview.events(room, from))).toEqual([]);
  });

  test('goes on after a restart', async () => {
    await preview.house.ingest(room, [room.message('one')]);
    const { store, clock, homeserver, remote } = preview.house;
    const house = await PeekingHouse.on(store, clock);
    house.homeserver.rooms.clear();
    expect([homeserver.rooms.size, remote.sent('PUT').length]).toEqual([0, 1]);
    const again = await PreviewHouse.open({ house });
    expect(chunkOf(await again.events(room))).toEqual(['one']);
    expect(again.house.previewing.mayRead(ALICE, room.roomId)).toBe(true);
  });

  test('when the process ends is answered with nothing new', async () => {
    const waiting = preview.events(room, { timeout: '30000' });
    await untilHeld(1);
    preview.held.release();
    const answer = await waiting;
    expect([answer.status, answer.body.chunk, answer.body.end]).toEqual([200, [], answer.body.start]);
  });

  test('tells what state replaced', async () => {
    const first = room.state('m.room.topic', '', { topic: 'first' });
    const second = room.state('m.room.topic', '', { topic: 'second' });
    await preview.house.ingest(room, [first, second]);
    const [, event] = (await preview.events(room)).body.chunk as JsonObject[];
    expect(event?.unsigned).toMatchObject({
      replaces_state: first.eventId,
      prev_content: { topic: 'first' },
      prev_sender: room.creator,
    });
  });

  test('does not show what ignored users say', async () => {
    preview.house.homeserver.accountDataOf.set(`${ALICE.userId} m.ignored_user_list`, {
      ignored_users: { '@troll:there.test': {} },
    });
    await preview.house.clock.advance(MINUTE);
    const joins = room.member('@troll:there.test', 'join');
    await preview.house.ingest(room, [joins, room.message('noise', '@troll:there.test')]);
    const answer = await preview.events(room);
    expect(chunkOf(answer)).toEqual(['member=join']);
    expect(chunkOf(await preview.events(room, { from: endOf(answer) }))).toEqual([]);
  });
});

describe('the homeserver answers', () => {
  test('a poll of a room that is not previewed', async () => {
    expectRefused(await preview.events(room, {}, 'bob'));
    expectRefused(await preview.events(new RoomBuilder('10', PEER, 'other')));
  });

  test('one with a place of its own, which is passed on as it is its own', async () => {
    preview.script = (_req, res) => res.end('{"chunk":[]}');
    const answer = await preview.events(room, { from: 's1_2_3' });
    expect(answer.text).toBe('{"chunk":[]}');
    expect(preview.asked.at(-1)).toContain('from=s1_2_3');
  });

  test('one whose timeout is no number', async () => {
    expectRefused(await preview.events(room, { timeout: 'soon' }));
  });

  test('one of a room that it is in by now and that nobody here follows; it is not shown our token', async () => {
    const joined = preview.house.resident(new RoomBuilder('10', 'here.test'));
    expectRefused(await preview.events(joined, { from: placeToken(7) }));
    const [passed = ''] = preview.asked.slice(-1);
    const query = new URL(passed, 'http://homeserver').searchParams;
    expect(Object.fromEntries(query)).toEqual({ room_id: joined.roomId, timeout: '0' });
  });
});

describe('a preview', () => {
  test('lasts as long as its client polls', async () => {
    let from: Record<string, string> = {};
    for (let i = 0; i < 10; i++) {
      await preview.house.clock.advance(2 * MINUTE);
      const answer = await preview.events(room, from);
      from = { from: endOf(answer) };
      await preview.house.sweeps.run();
    }
    expect(preview.house.remote.sent('DELETE')).toEqual([]);
  });

  test('that was let go begins again when its client comes back', async () => {
    const { house } = preview;
    const { end } = messagesOf(await preview.initialSync(room));
    await house.clock.advance(10 * MINUTE);
    await house.sweeps.run();
    await house.settle();
    expect(house.remote.sent('DELETE')).toHaveLength(1);
    room.message('meanwhile');
    const answer = await preview.events(room, { from: end });
    expect(answer.status).toBe(200);
    expect(chunkOf(answer)).toEqual(['meanwhile']);
    expect(house.previewing.mayRead(ALICE, room.roomId)).toBe(true);
    await house.ingest(room, [room.message('after')]);
    expect(chunkOf(await preview.events(room, { from: endOf(answer) }))).toEqual(['after']);
  });

  test('ends at the event with which the room turns private, and then the homeserver refuses', async () => {
    const waiting = preview.events(room, { timeout: '30000' });
    await untilHeld(1);
    const closing = room.state('m.room.history_visibility', '', { history_visibility: 'joined' });
    await preview.house.ingest(room, [closing, room.message('in private')]);
    const answer = await waiting;
    expect(chunkOf(answer)).toEqual(['history_visibility=joined']);
    preview.house.remote.refuse(PEER, 'PUT', '/peek/', 403, 'M_FORBIDDEN');
    expectRefused(await preview.events(room, { from: endOf(answer) }));
    expectRefused(await preview.initialSync(room));
    await preview.house.clock.advance(10 * MINUTE);
    await preview.house.sweeps.run();
    await preview.house.settle();
    expect(await preview.house.store.size()).toBe(0);
  });

  test('of a room that has turned private still tells what was said before', async () => {
    const said = room.message('the last word');
    const closing = room.state('m.room.encryption', '', { algorithm: 'm.megolm.v1.aes-sha2' });
    await preview.house.ingest(room, [said, closing, room.message('in private')]);
    await preview.house.settle();
    const end = placeToken((await preview.house.log(room.roomId)).head - 2);
    const answer = await preview.events(room, { from: end });
    expect(chunkOf(answer)).toEqual(['the last word', 'encryption=']);
  });

  test('ends with a ban, for the banned user alone', async () => {
    await preview.initialSync(room, 'limit=20', 'bob');
    const ban = room.state('m.room.member', ALICE.userId, { membership: 'ban' });
    await preview.house.ingest(room, [ban]);
    await preview.house.settle();
    const answer = await preview.events(room);
    expect(chunkOf(answer)).toEqual(['member=ban']);
    expectRefused(await preview.events(room, { from: endOf(answer) }));
    expect(chunkOf(await preview.events(room, {}, 'bob'))).toEqual(['member=ban']);
    await preview.house.ingest(room, [room.message('without her')]);
    expect(chunkOf(await preview.events(room, { from: endOf(answer) }, 'bob'))).toEqual(['without her']);
  });

  test('ends when the user joins, on all devices', async () => {
    await preview.initialSync(room, 'limit=20', 'tablet');
    await preview.initialSync(room, 'limit=20', 'bob');
    await preview.house.ingest(room, [room.member(ALICE.userId, 'join')]);
    await preview.house.settle();
    expectRefused(await preview.events(room));
    expectRefused(await preview.events(room, {}, 'tablet'));
    expect((await preview.events(room, {}, 'bob')).status).toBe(200);
    expect(preview.house.previewing.count).toBe(1);
  });

  test('goes on when another user of ours joins, and the homeserver feeds the room', async () => {
    const { house } = preview;
    const before = await preview.events(room);
    room.member('@carol:here.test', 'join');
    house.resident(room);
    house.becomingResident.suspect(room.roomId);
    await house.settle(1_000);
    expect((await house.log(room.roomId)).feed).toBe('resident');
    room.message('by the homeserver');
    await house.settle();
    const answer = await preview.events(room, { from: endOf(before) });
    expect(chunkOf(answer)).toEqual(['member=join', 'by the homeserver']);
  });
});
