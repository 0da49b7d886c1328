import { describe, expect, it } from 'vitest';
import { restorePdu } from '../../../src/homeserver/restore-pdu.ts';
import { encodeBase64 } from '../../../src/matrix/base64.ts';
import { contentHash } from '../../../src/matrix/hashes.ts';
import type { JsonObject } from '../../../src/matrix/json.ts';
import { redact } from '../../../src/matrix/redaction.ts';
import {
  type RoomVersionRules,
  roomVersion,
  SUPPORTED_ROOM_VERSIONS,
} from '../../../src/matrix/room-versions.ts';

const TARGET = '$target';

/** A redaction with a right content hash, as it was sent. */
function redactionOf(rules: RoomVersionRules): JsonObject {
  const inEvent = rules.redactsPlace === 'event';
  const bare: JsonObject = {
    type: 'm.room.redaction',
    sender: '@alice:a.test',
    room_id: '!room:a.test',
    content: inEvent ? { reason: 'spam' } : { reason: 'spam', redacts: TARGET },
    ...(inEvent && { redacts: TARGET }),
    ...(rules.eventIds === 'named' && { event_id: '$id:a.test' }),
    depth: 7,
    origin_server_ts: 1,
    prev_events: [],
    auth_events: [],
  };
  return { ...bare, hashes: { sha256: encodeBase64(contentHash(bare)) }, signatures: {} };
}

/** What Synapse adds for clients. */
function shown(pdu: JsonObject, unsigned: JsonObject = { age: 1 }): JsonObject {
  const content = { ...(pdu.content as JsonObject), redacts: TARGET };
  return { ...pdu, content, redacts: TARGET, event_id: pdu.event_id ?? '$id', unsigned };
}

describe.each(SUPPORTED_ROOM_VERSIONS)('a redaction of version %s', (version) => {
  const rules = roomVersion(version) as RoomVersionRules;
  const sent = redactionOf(rules);

  it('is again as it was sent', () => {
    expect(restorePdu(shown(sent), rules)).toEqual({ pdu: sent, whole: true });
  });

  it('that was sent with the target in both places stays so', () => {
    const { hashes: _, signatures: __, ...fields } = sent;
    const both: JsonObject = {
      ...fields,
      content: { reason: 'spam', redacts: TARGET },
      redacts: TARGET,
    };
    const pdu = { ...both, hashes: { sha256: encodeBase64(contentHash(both)) }, signatures: {} };
    expect(restorePdu(shown(pdu), rules)).toEqual({ pdu, whole: true });
  });

  it('that was itself redacted comes pruned', () => {
    const pruned = redact(sent, rules);
    const event = shown(pruned, { redacted_because: { type: 'm.room.redaction' } });
    expect(restorePdu(event, rules)).toEqual({ pdu: pruned, whole: true });
  });

  it('that matches its hash in no form is not whole', () => {
    const event = { ...shown(sent), depth: 8 };
    expect(restorePdu(event, rules)).toMatchObject({ whole: false });
  });
});

it.each([
  ['typing', { type: 'm.typing', content: { user_ids: [] }, room_id: '!r' }],
  ['presence', { type: 'm.presence', sender: '@a:a.test', content: {} }],
  ['a number as type', { ...redactionOf(roomVersion('12') as RoomVersionRules), type: 7 }],
  ['content that is a list', { ...redactionOf(roomVersion('12') as RoomVersionRules), content: [] }],
])('%s is no event of a room', (_, event) => {
  expect(restorePdu(event, roomVersion('12') as RoomVersionRules)).toEqual({ pdu: null });
});
