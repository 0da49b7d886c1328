import { describe, expect, test } from 'vitest';
import { IgnoredSenders } from '../../../src/client-view/ignored-users.ts';
import {
  type HeldEvent,
  Relations,
  type ShowRelated,
  type Viewer,
} from '../../../src/client-view/relations.ts';
import type { JsonObject } from '../../../src/matrix/json.ts';

const VIEWER: Viewer = { userId: '@viewer:x' };
let clock = 0;

function event(eventId: string, content: JsonObject = {}, more: JsonObject = {}): HeldEvent {
  const pdu = { type: 'm.room.message', sender: '@a:x', origin_server_ts: ++clock, content, ...more };
  return { eventId, pdu };
}

function related(eventId: string, type: string, target: string, more: JsonObject = {}): HeldEvent {
  return event(eventId, { 'm.relates_to': { rel_type: type, event_id: target } }, more);
}

const show: ShowRelated = ({ eventId }, relations) =>
  relations === null ? { event_id: eventId } : { event_id: eventId, relations };

function bundled(target: HeldEvent, pool: readonly HeldEvent[], viewer = VIEWER, redacted = false) {
  return new Relations(pool).of(target, redacted, viewer, show);
}

describe('edits', () => {
  test('the newest by the event’s own sender and of its type, by the time that it names', () => {
    const root = event('$root');
    const pool = [
      root,
      related('$late', 'm.replace', '$root', { origin_server_ts: 9_000 }),
      related('$early', 'm.replace', '$root'),
      related('$foreign', 'm.replace', '$root', { sender: '@b:x', origin_server_ts: 10_000 }),
      related('$other', 'm.replace', '$root', { type: 'm.sticker', origin_server_ts: 10_000 }),
      related('$state', 'm.replace', '$root', { state_key: '', origin_server_ts: 10_000 }),
    ];
    expect(bundled(root, pool)).toEqual({ 'm.replace': { event_id: '$late' } });
  });

  test('of one moment: the one whose ID is last', () => {
    const root = event('$root');
    const at = { origin_server_ts: 7 };
    const pool = [related('$b', 'm.replace', '$root', at), related('$a', 'm.replace', '$root', at)];
    expect(bundled(root, pool)).toEqual({ 'm.replace': { event_id: '$b' } });
  });

  test('a redacted event shows none', () => {
    const root = event('$root');
    expect(bundled(root, [related('$e', 'm.replace', '$root')], VIEWER, true)).toBeNull();
  });
});

describe('threads', () => {
  const root = event('$root');
  const replies = [
    related('$one', 'm.thread', '$root', { sender: '@b:x' }),
    related('$two', 'm.thread', '$root', { sender: '@c:x' }),
  ];

  test('the latest reply with what relates to it, how many there are, and whether the viewer took part', () => {
    const pool = [root, ...replies, related('$edit', 'm.replace', '$two', { sender: '@c:x' })];
    expect(bundled(root, pool)).toEqual({
      'm.thread': {
        latest_event: { event_id: '$two', relations: { 'm.replace': { event_id: '$edit' } } },
        count: 2,
        current_user_participated: false,
      },
    });
    for (const userId of ['@a:x', '@b:x']) {
      expect(bundled(root, pool, { userId })).toMatchObject({
        'm.thread': { current_user_participated: true },
      });
    }
  });

  test('replies of users whom the viewer ignores are not counted, nor is one of them the latest', () => {
    const ignored = new IgnoredSenders(['@c:x']);
    expect(bundled(root, replies, { ...VIEWER, ignored })).toMatchObject({
      'm.thread': { latest_event: { event_id: '$one' }, count: 1 },
    });
    expect(bundled(root, replies, { ...VIEWER, ignored: new IgnoredSenders(['@b:x', '@c:x']) })).toBeNull();
  });

  test('none begins at an event that itself relates to another', () => {
    const reply = replies[0] as HeldEvent;
    expect(bundled(reply, [related('$deep', 'm.thread', '$one')])).toBeNull();
  });
});

describe('references', () => {
  test('all of them, in their order, by ID alone; ignored users’ are left out', () => {
    const root = event('$root');
    const pool = [
      related('$1', 'm.reference', '$root', { type: 'org.test' }),
      related('$2', 'm.reference', '$root', { sender: '@c:x' }),
      related('$1', 'm.reference', '$root'),
    ];
    const chunk = [{ event_id: '$1' }, { event_id: '$2' }];
    expect(bundled(root, pool)).toEqual({ 'm.reference': { chunk } });
    const ignored = new IgnoredSenders(['@c:x']);
    expect(bundled(root, pool, { ...VIEWER, ignored })).toEqual({
      'm.reference': { chunk: [{ event_id: '$1' }] },
    });
  });
});

describe('nothing is bundled', () => {
  test('with state, with edits and with annotations', () => {
    const pool = [related('$r', 'm.reference', '$root')];
    expect(bundled(event('$root', {}, { state_key: '' }), pool)).toBeNull();
    expect(bundled(related('$root', 'm.replace', '$other'), pool)).toBeNull();
    expect(bundled(related('$root', 'm.annotation', '$other'), pool)).toBeNull();
    expect(bundled(related('$root', 'm.thread', '$other'), pool)).not.toBeNull();
  });

  test('of annotations, of relations unknown here, and of what is malformed', () => {
    const root = event('$root');
    const odd: unknown[] = [
      null,
      1,
      'x',
      [],
      {},
      { rel_type: 'm.thread' },
      { rel_type: 1, event_id: '$root' },
    ];
    const pool = [
      ...odd.map((relates, i) => event(`$odd${i}`, { 'm.relates_to': relates } as JsonObject)),
      event('$gone', null as never),
      related('$reaction', 'm.annotation', '$root'),
      related('$proto', '__proto__', '$root'),
    ];
    expect(bundled(root, pool)).toBeNull();
  });
});

test('relations of certain kinds or senders can be asked for', () => {
  const relations = new Relations([related('$r', 'm.annotation', '$root', { sender: '@b:x' })]);
  expect(relations.concern('$root')).toBe(true);
  expect(relations.some('$root', ({ type, sender }) => type === 'm.annotation' && sender === '@b:x')).toBe(
    true,
  );
  expect(relations.some('$root', ({ type }) => type === 'm.thread')).toBe(false);
  expect(relations.some('$other', () => true)).toBe(false);
});

test('ten thousand relations to one event are gathered in one walk', () => {
  const root = event('$root');
  const pool = Array.from({ length: 10_000 }, (_, i) => related(`$${i}`, 'm.thread', '$root'));
  expect(bundled(root, pool)).toMatchObject({ 'm.thread': { count: 10_000 } });
});
