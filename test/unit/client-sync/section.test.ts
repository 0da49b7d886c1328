import { describe, expect, test } from 'vitest';
import { renderSection } from '../../../src/client-sync/section.ts';
import { NO_FILTER, parseFilter } from '../../../src/client-view/filter.ts';
import type { JsonObject } from '../../../src/matrix/json.ts';

function member(userId: string): JsonObject {
  return { type: 'm.room.member', state_key: userId, sender: userId, content: { membership: 'join' } };
}

function message(sender: string): JsonObject {
  return { type: 'm.room.message', sender, content: { body: 'hi' } };
}

const NAME: JsonObject = { type: 'm.room.name', state_key: '', sender: '@a:b', content: { name: 'n' } };
const CONTENT = {
  state: [NAME, member('@a:b'), member('@c:d')],
  timeline: [message('@a:b'), { ...message('@a:b'), type: 'm.sticker' }],
  limited: true,
  prevBatch: 's1',
};

describe('renderSection', () => {
  test('has the timeline and the state of a joined room and nothing else', () => {
    expect(renderSection(CONTENT, NO_FILTER, false)).toEqual({
      timeline: { events: CONTENT.timeline, limited: true, prev_batch: 's1' },
      state: { events: CONTENT.state },
    });
  });

  test('names the state as MSC4222 has it where that was asked for', () => {
    const section = renderSection(CONTENT, NO_FILTER, true);
    expect(Object.keys(section)).toEqual(['timeline', 'org.matrix.msc4222.state_after']);
    expect(section['org.matrix.msc4222.state_after']).toEqual({ events: CONTENT.state });
  });

  test('lazy members: only those who sent something in the timeline that is shown', () => {
    const lazy = { lazy_load_members: true };
    expect(renderSection(CONTENT, parseFilter({ room: { state: lazy } }), false).state).toEqual({
      events: [NAME, member('@a:b')],
    });
    const none = parseFilter({ room: { state: lazy, timeline: { types: [] } } });
    expect(renderSection(CONTENT, none, false)).toEqual({
      timeline: { events: [], limited: true, prev_batch: 's1' },
      state: { events: [NAME] },
    });
  });

  test('filters the timeline and the state, each by its own, and picks fields in both', () => {
    const filter = parseFilter({
      event_fields: ['type'],
      room: { timeline: { not_types: ['m.sticker'] }, state: { types: ['m.room.name'] } },
    });
    expect(renderSection(CONTENT, filter, false)).toEqual({
      timeline: { events: [{ type: 'm.room.message' }], limited: true, prev_batch: 's1' },
      state: { events: [{ type: 'm.room.name' }] },
    });
  });

  test('the room lists of timeline and state hold for the room of the section', () => {
    const filter = parseFilter({ room: { timeline: { not_rooms: ['!r:b'] }, state: { rooms: ['!r:b'] } } });
    expect(renderSection({ ...CONTENT, roomId: '!r:b' }, filter, false)).toEqual({
      timeline: { events: [], limited: true, prev_batch: 's1' },
      state: { events: CONTENT.state },
    });
  });
});
