import { describe, expect, test } from 'vitest';
import { renderSection, type SectionContent, type SectionEvent } from '../../../src/client-sync/section.ts';
import { NO_FILTER, parseFilter } from '../../../src/client-view/filter.ts';
import type { JsonObject } from '../../../src/matrix/json.ts';

function state(type: string, key: string, eventId: string): SectionEvent {
  const event = { type, state_key: key, sender: '@a:b', content: { membership: 'join' }, event_id: eventId };
  return { eventId, slot: `${type}\u0000${key}`, event };
}

function message(type: string): SectionEvent {
  const eventId = `$${type}`;
  return { eventId, slot: null, event: { type, sender: '@a:b', content: { body: 'hi' } } };
}

const CONTENT: SectionContent = {
  roomId: '!r:b',
  state: [state('m.room.name', '', '$n'), state('m.room.member', '@a:b', '$a')],
  timeline: [message('m.room.message'), state('m.room.name', '', '$new')],
  limited: true,
  prevBatch: 's1',
};
const bare = (events: readonly SectionEvent[]) => events.map(({ event }) => event);

describe('renderSection', () => {
  test('has the timeline and the state of a joined room and nothing else', () => {
    expect(renderSection(CONTENT, NO_FILTER, 'state').section).toEqual({
      timeline: { events: bare(CONTENT.timeline), limited: true, prev_batch: 's1' },
      state: { events: bare(CONTENT.state) },
    });
  });

  test.each(['org.matrix.msc4222.state_after', 'state_after'] as const)(
    'names the state as the homeserver does: %s',
    (name) => {
      const { section } = renderSection(CONTENT, NO_FILTER, name);
      expect(Object.keys(section)).toEqual(['timeline', name]);
      expect(section[name]).toEqual({ events: bare(CONTENT.state) });
    },
  );

  test('filters the state, and picks fields in both', () => {
    const filter = parseFilter({ event_fields: ['type'], room: { state: { types: ['m.room.name'] } } });
    expect(renderSection(CONTENT, filter, 'state').section).toEqual({
      timeline: {
        events: [{ type: 'm.room.message' }, { type: 'm.room.name' }],
        limited: true,
        prev_batch: 's1',
      },
      state: { events: [{ type: 'm.room.name' }] },
    });
  });

  test('the room lists of the state filter hold for the room of the section', () => {
    const events = (rooms: JsonObject) =>
      renderSection(CONTENT, parseFilter({ room: { state: rooms } }), 'state').section.state;
    expect(events({ rooms: ['!r:b'] })).toEqual({ events: bare(CONTENT.state) });
    expect(events({ not_rooms: ['!r:b'] })).toEqual({ events: [] });
  });

  test('says what of the state the device has from it: what was sent, the timeline on top', () => {
    const filter = parseFilter({ event_fields: ['type'], room: { state: { not_types: ['m.room.member'] } } });
    const told = (name: 'state' | 'state_after') => [...renderSection(CONTENT, filter, name).told];
    expect(told('state')).toEqual([['m.room.name\u0000', '$new']]);
    expect(told('state_after')).toEqual([['m.room.name\u0000', '$n']]);
  });

  test('is empty without events, whatever else it says', () => {
    const filter = parseFilter({ room: { state: { types: [] } } });
    expect(renderSection(CONTENT, filter, 'state').isEmpty).toBe(false);
    expect(renderSection({ ...CONTENT, timeline: [] }, filter, 'state').isEmpty).toBe(true);
  });
});
