import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import {
  type AuthEvent,
  authTypesFor,
  checkAuthEventsSelection,
} from '../../../../src/matrix/auth-rules/auth-events.ts';
import { authStateOf } from '../../../../src/matrix/auth-rules/auth-state.ts';
import { authorise } from '../../../../src/matrix/auth-rules/authorise.ts';
import { eventIdOf } from '../../../../src/matrix/event-id.ts';
import type { JsonObject } from '../../../../src/matrix/json.ts';
import { authEventIds, checkPdu, type Pdu, stateKeyOf } from '../../../../src/matrix/pdu.ts';
import { verifyPduSignature } from '../../../../src/matrix/signed-json.ts';
import { SPEC_KEY } from '../spec-key.ts';
import { rulesOf } from './sketch.ts';

interface Room {
  readonly room_version: string;
  readonly steps: readonly {
    readonly event: JsonObject;
    readonly event_id: string;
    readonly allowed: boolean;
  }[];
}

/** Made by Synapse 1.163.2 with `make_auth_rules_rooms.py`. */
const rooms = JSON.parse(
  readFileSync(new URL('../../../fixtures/matrix/auth-rules-rooms.json', import.meta.url), 'utf8'),
) as Room[];

test('there is a room of every version, with events that are allowed and events that are not', () => {
  expect(rooms.map((room) => room.room_version)).toEqual(Array.from({ length: 12 }, (_, i) => String(i + 1)));
  for (const { steps } of rooms) {
    expect(steps.filter((step) => step.allowed).length).toBeGreaterThan(18);
    expect(steps.filter((step) => !step.allowed).length).toBeGreaterThan(12);
  }
});

test.each(rooms)(
  'what Synapse allows and refuses in a room of version $room_version',
  ({ room_version, steps }) => {
    const rules = rulesOf(room_version);
    const known = new Map<string, AuthEvent>();
    const state: Pdu[] = [];
    for (const { event, event_id, allowed } of steps) {
      const pdu = checkPdu(event, rules);
      const label = `${pdu.type} by ${pdu.sender}: ${JSON.stringify(pdu.content)}`;
      expect(eventIdOf(pdu, rules), label).toBe(event_id);
      expect(verifyPduSignature(pdu, rules, 'domain', 'ed25519:1', SPEC_KEY.publicKey), label).toBe(true);

      const authEvents = authEventIds(pdu, rules).map((id) => (known.get(id) as AuthEvent).event);
      const now = authStateOf(state);
      const selected = authTypesFor(pdu, rules).map(([type, stateKey]) => now(type, stateKey));
      expect(new Set(selected.filter((each) => each !== null)), label).toEqual(new Set(authEvents));
      expect(
        checkAuthEventsSelection(pdu, (id) => known.get(id) ?? null, rules),
        label,
      ).toEqual({ allowed: true });

      const byAuthEvents = authStateOf(
        rules.auth.createImplied ? [...state.slice(0, 1), ...authEvents] : authEvents,
      );
      expect(authorise(pdu, event_id, byAuthEvents, rules).allowed, label).toBe(allowed);
      expect(authorise(pdu, event_id, now, rules).allowed, label).toBe(allowed);
      if (!allowed) continue;
      known.set(event_id, { event: pdu, rejected: false });
      if (stateKeyOf(pdu) !== null) state.push(pdu);
    }
  },
);
