import type {
  DevicePeek,
  InboundPeek,
  NewLogEntry,
  OutboundPeek,
  StoredEvent,
} from '../../../src/store/store.ts';

export const ROOM = '!room:example.org';
/** A log's first position as the clock gives it: above what a 32-bit integer or 14 digits hold. */
export const FIRST = 1_763_700_000_000_000;

export function entry(eventId: string, more: Partial<NewLogEntry> = {}): NewLogEntry {
  return {
    eventId,
    json: JSON.stringify({ type: 'm.room.message', content: { body: `text of ${eventId} 😀\n` } }),
    type: 'm.room.message',
    stateKey: null,
    replaces: null,
    applied: false,
    shown: true,
    receivedAt: 1_763_700_000_123,
    ...more,
  };
}

export function stateEntry(eventId: string, type: string, stateKey: string, replaces: string | null = null) {
  return entry(eventId, {
    type,
    stateKey,
    replaces,
    applied: true,
    json: `{"type":"${type}","id":"${eventId}"}`,
  });
}

export function stateEvent(eventId: string, type: string, stateKey: string): StoredEvent {
  return { eventId, type, stateKey, json: `{"type":"${type}","id":"${eventId}"}` };
}

export function devicePeek(more: Partial<DevicePeek> = {}): DevicePeek {
  return {
    userId: '@user:example.org',
    deviceId: 'DEVICE',
    roomId: ROOM,
    instance: 1,
    createdAt: 1000,
    seenAt: 1000,
    dormantSince: null,
    initial: null,
    delivered: false,
    ended: null,
    ...more,
  };
}

export function inboundPeek(more: Partial<InboundPeek> = {}): InboundPeek {
  return {
    server: 'remote.example',
    roomId: ROOM,
    peekId: 'abcdefgh',
    createdAt: 1000,
    renewedAt: 1000,
    expiresAt: 5000,
    ...more,
  };
}

export function outboundPeek(more: Partial<OutboundPeek> = {}): OutboundPeek {
  return {
    roomId: ROOM,
    server: 'remote.example',
    peekId: 'abcdefgh',
    candidates: ['remote.example', 'other.example'],
    renewalIntervalMs: 3_600_000,
    renewAt: 5000,
    heardAt: 1000,
    begunAt: 1000,
    how: 'put',
    phase: 'live',
    ...more,
  };
}

/** Strings that other servers and clients may name rooms, users, servers, events and state keys by. */
export const ODD_STRINGS: readonly string[] = [
  '__proto__',
  'constructor',
  'toString',
  '{x}',
  '}{',
  '{}',
  'a|b',
  'a/b:c%2F',
  'with space',
  'line\nbreak',
  'nul\u0000byte',
  '*?[a-z]',
  'ünïcødé 😀 \uff61',
  '"quoted\\"',
  '$%^&',
  'x'.repeat(255),
  '€'.repeat(85),
];
