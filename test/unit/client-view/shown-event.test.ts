import { describe, expect, test } from 'vitest';
import { Redactions } from '../../../src/client-view/redactions.ts';
import type { HeldEvent } from '../../../src/client-view/relations.ts';
import { type EventForm, showEvent } from '../../../src/client-view/shown-event.ts';
import { redact } from '../../../src/matrix/redaction.ts';
import { RoomBuilder } from '../../support/room-builder.ts';

const SENT = 1_000;

function form(builder: RoomBuilder, more: Partial<EventForm> = {}): EventForm {
  const { roomId, version } = builder;
  return { format: 'client', roomId, roomVersion: version, namesRoom: false, now: SENT + 5, ...more };
}

describe('an event in client format', () => {
  const builder = new RoomBuilder('11');
  const message: HeldEvent = { eventId: '$m', pdu: { ...builder.message('hi').pdu, origin_server_ts: SENT } };

  test('has in `unsigned` what is told of it, and nothing that came with it', () => {
    const held = { ...message, pdu: { ...message.pdu, unsigned: { transaction_id: 'secret', age: 1 } } };
    expect(showEvent(held, form(builder))).toEqual({
      type: 'm.room.message',
      sender: builder.creator,
      content: { msgtype: 'm.text', body: 'hi' },
      origin_server_ts: SENT,
      event_id: '$m',
      unsigned: { age: 5 },
    });
    const notes = {
      membership: 'leave',
      replaces: '$before',
      replaced: { content: { topic: 'was' }, sender: '@a:b' },
      relations: { 'm.reference': { chunk: [] } },
    };
    expect(showEvent(held, form(builder), notes).unsigned).toEqual({
      age: 5,
      membership: 'leave',
      replaces_state: '$before',
      prev_content: { topic: 'was' },
      prev_sender: '@a:b',
      'm.relations': { 'm.reference': { chunk: [] } },
    });
  });

  test('names its room where that is asked for', () => {
    expect(showEvent(message, form(builder, { namesRoom: true })).room_id).toBe(builder.roomId);
    expect(showEvent(message, form(builder))).not.toHaveProperty('room_id');
  });
});

test('an event in federation format is the PDU, its ID and room, and the same `unsigned`', () => {
  const builder = new RoomBuilder('12');
  const message = builder.message('hi');
  const shown = showEvent(message, form(builder, { format: 'federation' }), { membership: 'leave' });
  expect(shown).toEqual({
    ...message.pdu,
    event_id: message.eventId,
    room_id: builder.roomId,
    unsigned: { age: 0, membership: 'leave' },
  });
});

describe.each(['10', '11'])('a redacted event in a room of version %s', (version) => {
  const builder = new RoomBuilder(version);
  const message = builder.message('gone');
  const kept = builder.message('kept');
  const redaction = builder.redaction(message.eventId);
  const refused = builder.redaction(kept.eventId);
  const held = { ...message, pdu: redact(message.pdu, builder.rules) };
  const redactions = new Redactions(version, [kept, redaction, refused, builder.redaction(message.eventId)]);

  test.each(['client', 'federation'] as const)('says by which event, in %s format', (format) => {
    const shown = showEvent(held, form(builder, { format }), { redaction: redactions.of(held) });
    expect(shown.content).toEqual({});
    expect(shown.unsigned).toMatchObject({
      redacted_by: redaction.eventId,
      redacted_because: {
        event_id: redaction.eventId,
        type: 'm.room.redaction',
        redacts: message.eventId,
        content: { redacts: message.eventId },
        unsigned: { age: 0 },
      },
    });
  });

  test('is one that is held pruned: a redaction that did not count is not told', () => {
    expect(redactions.of(kept)).toBeNull();
    expect(redactions.of(held)?.eventId).toBe(redaction.eventId);
  });
});

test('a state event that a redaction left nothing of is told so, one that it could not touch too', () => {
  const builder = new RoomBuilder('11');
  const topic = builder.state('m.room.topic', '', { topic: 'x' });
  const join = builder.member('@a:b', 'join');
  const redactions = new Redactions('11', [
    builder.redaction(topic.eventId),
    builder.redaction(join.eventId),
  ]);
  expect(redactions.of(topic)).toBeNull();
  expect(redactions.of({ ...topic, pdu: redact(topic.pdu, builder.rules) })).not.toBeNull();
  expect(redactions.of(join)).not.toBeNull();
});
