import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  MAX_TIMELINE_LIMIT,
  matchesEvent,
  NO_FILTER,
  parseFilter,
  pickFields,
  wantsRoom,
} from '../../../src/client-view/filter.ts';
import { compileTypes } from '../../../src/client-view/type-pattern.ts';
import type { JsonObject } from '../../../src/matrix/json.ts';

const MESSAGE: JsonObject = {
  type: 'm.room.message',
  sender: '@a:b',
  event_id: '$1',
  content: { body: 'hi', url: 'mxc://b/1', info: { w: 1, h: 2 } },
};

function timelineTakes(timeline: JsonObject, event = MESSAGE, roomId?: string): boolean {
  return matchesEvent(parseFilter({ room: { timeline } }).timeline, event, roomId);
}

function picked(fields: string[], event = MESSAGE): unknown {
  return JSON.parse(JSON.stringify(pickFields(event, parseFilter({ event_fields: fields }).eventFields)));
}

describe('rooms', () => {
  test('room.rooms and not_rooms decide; not_rooms wins; an empty list wants none', () => {
    expect(wantsRoom(NO_FILTER, '!a:b')).toBe(true);
    expect(wantsRoom(parseFilter({ room: { rooms: ['!a:b'] } }), '!a:b')).toBe(true);
    expect(wantsRoom(parseFilter({ room: { rooms: ['!a:b'] } }), '!c:d')).toBe(false);
    expect(wantsRoom(parseFilter({ room: { rooms: [] } }), '!a:b')).toBe(false);
    expect(wantsRoom(parseFilter({ room: { rooms: ['!a:b'], not_rooms: ['!a:b'] } }), '!a:b')).toBe(false);
    expect(wantsRoom(parseFilter({ room: { rooms: ['__proto__'] } }), 'constructor')).toBe(false);
  });

  test("the timeline's own room lists hold for the event's room", () => {
    expect(timelineTakes({ rooms: ['!a:b'] }, MESSAGE, '!a:b')).toBe(true);
    expect(timelineTakes({ rooms: ['!a:b'] }, MESSAGE, '!c:d')).toBe(false);
    expect(timelineTakes({ not_rooms: ['!a:b'] }, { ...MESSAGE, room_id: '!a:b' })).toBe(false);
  });
});

describe('events', () => {
  test.each<[JsonObject, boolean]>([
    [{}, true],
    [{ types: ['m.room.message'] }, true],
    [{ types: ['m.room.*'] }, true],
    [{ types: [] }, false],
    [{ types: ['m.room.member'] }, false],
    [{ not_types: ['*.message'] }, false],
    [{ types: ['*'], not_types: ['m.room.message'] }, false],
    [{ senders: ['@a:b'] }, true],
    [{ senders: ['@A:b'] }, false],
    [{ senders: [] }, false],
    [{ senders: ['@a:b'], not_senders: ['@a:b'] }, false],
    [{ contains_url: true }, true],
    [{ contains_url: false }, false],
  ])('timeline %j ⇒ %s', (timeline, taken) => expect(timelineTakes(timeline)).toBe(taken));

  test('a url that is no string is none', () => {
    expect(timelineTakes({ contains_url: true }, { ...MESSAGE, content: { url: 1 } })).toBe(false);
    expect(timelineTakes({ contains_url: false }, { ...MESSAGE, content: null })).toBe(true);
  });

  test('wildcards agree with a regular expression of the same meaning', () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'b', '.'), maxLength: 8 });
    const pattern = fc.string({ unit: fc.constantFrom('a', 'b', '.', '*'), maxLength: 6 });
    fc.assert(
      fc.property(pattern, text, (pattern, text) => {
        const expected = new RegExp(`^${pattern.replaceAll('.', '\\.').replaceAll('*', '.*')}$`).test(text);
        expect(compileTypes([pattern]).some((fits) => fits(text))).toBe(expected);
      }),
      { numRuns: 500 },
    );
  });

  test('a wildcard made to be slow is not', () => {
    const [fits] = compileTypes([`${'*a'.repeat(5000)}*b*a`]);
    const started = performance.now();
    expect(fits?.('a'.repeat(60_000))).toBe(false);
    expect(performance.now() - started).toBeLessThan(500);
  });
});

describe('parseFilter', () => {
  test('reads what concerns peeked rooms', () => {
    const filter = parseFilter({
      event_format: 'federation',
      room: {
        include_leave: true,
        timeline: { limit: 7 },
        state: { lazy_load_members: true, include_redundant_members: true },
      },
    });
    expect(filter).toMatchObject({
      eventFormat: 'federation',
      includeLeave: true,
      timelineLimit: 7,
      lazyLoadMembers: true,
      includeRedundantMembers: true,
    });
  });

  test.each([
    [0, 0],
    [100_000, MAX_TIMELINE_LIMIT],
    [-1, null],
    [1.5, null],
    ['5', null],
  ])('limit %j ⇒ %j', (limit, expected) => {
    expect(parseFilter({ room: { timeline: { limit } } }).timelineLimit).toBe(expected);
  });

  test('what is malformed counts as not given', () => {
    const room = {
      rooms: 'x',
      not_rooms: { a: 1 },
      timeline: { types: 'm', not_types: 3, senders: null, contains_url: 'yes', limit: [] },
      state: [],
    };
    const filter = parseFilter({ room, event_fields: 7, event_format: 1 });
    expect(filter).toEqual(NO_FILTER);
    expect(parseFilter({ room: 'x' })).toEqual(NO_FILTER);
    expect(parseFilter({ room: { rooms: [1, '!a:b'] } }).rooms).toEqual(new Set(['!a:b']));
  });
});

describe('pickFields', () => {
  test.each<[string[], unknown]>([
    [[], MESSAGE],
    [['type', 'nothing', 'content.nothing.x', 'type.x'], { type: 'm.room.message' }],
    [['content.body'], { content: { body: 'hi' } }],
    [['content.info.w', 'content.info.h', 'sender'], { sender: '@a:b', content: { info: { w: 1, h: 2 } } }],
    [['content', 'content.body'], { content: MESSAGE.content }],
    [['content.info.w', 'content.info'], { content: { info: { w: 1, h: 2 } } }],
  ])('%j', (fields, expected) => expect(picked(fields)).toEqual(expected));

  test('dots and backslashes in names are escaped by a backslash', () => {
    const event: JsonObject = { content: { 'm.relates_to': { k: 1 }, 'a\\': { b: 2 }, 'a\\x': 3 } };
    expect(picked(['content.m\\.relates_to.k'], event)).toEqual({ content: { 'm.relates_to': { k: 1 } } });
    expect(picked(['content.a\\\\.b'], event)).toEqual({ content: { 'a\\': { b: 2 } } });
    expect(picked(['content.a\\x'], event)).toEqual({ content: { 'a\\x': 3 } });
  });

  test('`__proto__`, `constructor`, `toJSON`, `hasOwnProperty` are fields like any other', () => {
    const event = JSON.parse('{"__proto__":{"polluted":1},"content":{"constructor":{"x":1}}}') as JsonObject;
    const fields = ['__proto__.polluted', 'content.constructor.x', 'toJSON', 'hasOwnProperty.call'];
    const { eventFields } = parseFilter({ event_fields: fields });
    expect(JSON.stringify(pickFields(event, eventFields))).toBe(JSON.stringify(event));
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  });

  test('the event itself is not changed', () => {
    const before = JSON.stringify(MESSAGE);
    picked(['content.info.w', 'content.body', 'content']);
    expect(JSON.stringify(MESSAGE)).toBe(before);
  });
});

describe('what is too much', () => {
  const many = (count: number) => Array.from({ length: count }, (_, n) => `*a*${n}`);

  test('more than 100 types with `*`, or event fields, count as not given', () => {
    const read = (types: string[]) =>
      parseFilter({ room: { timeline: { types, not_types: types } } }).timeline;
    expect(read(many(100)).types).toHaveLength(100);
    expect(read(many(101))).toEqual(NO_FILTER.timeline);
    expect(read(many(5_000).map((type) => type.replaceAll('*', ''))).types).toHaveLength(1);
    expect(parseFilter({ event_fields: many(100) }).eventFields).toHaveLength(100);
    expect(parseFilter({ event_fields: many(101) }).eventFields).toBeNull();
    expect(parseFilter({ event_fields: ['a.'.repeat(200)] }).eventFields).toEqual([]);
  });

  test.each<[string, JsonObject]>([
    ['types', { room: { state: { types: many(5_000), not_types: many(100) } } }],
    ['one type', { room: { state: { types: ['*a'.repeat(30_000)], not_types: ['a*'.repeat(30_000)] } } }],
    ['fields', { event_fields: many(10_000).map((path) => `content.${path}`) }],
    ['a deep field', { event_fields: ['content.'.repeat(8_000)] }],
  ])('a filter of 64 KiB of %s does not stall on a room of 28 000 events', (_, json) => {
    const filter = parseFilter(json);
    const { user, system } = process.threadCpuUsage();
    for (let n = 0; n < 28_000; n++) {
      const event = { ...MESSAGE, type: `${'a'.repeat(200)}${n}` };
      matchesEvent(filter.state, event, '!a:b');
      pickFields(event, filter.eventFields);
    }
    const worked = process.threadCpuUsage();
    // A tenth of it, as measured; without bounds it is minutes.
    expect((worked.user - user + worked.system - system) / 1000).toBeLessThan(5_000);
  });
});
