import { spawnSync } from 'node:child_process';
import fc from 'fast-check';
import { beforeAll, expect, test } from 'vitest';
import { authStateOf } from '../../src/matrix/auth-rules/auth-state.ts';
import { authorise } from '../../src/matrix/auth-rules/authorise.ts';
import type { JsonObject } from '../../src/matrix/json.ts';
import { SUPPORTED_ROOM_VERSIONS } from '../../src/matrix/room-versions.ts';
import { synapsePython } from '../support/synapse-environment.ts';
import { allCases } from '../unit/matrix/auth-rules/cases/all.ts';
import {
  ADMIN,
  ALICE,
  type AuthCase,
  type EventSketch,
  GUEST,
  MOD,
  member,
  message,
  type Scene,
  sceneOf,
  state,
  USER,
  versionsOf,
} from '../unit/matrix/auth-rules/sketch.ts';

/** For each case why Synapse's rules refuse it, or nothing; whatever they raise is a no. */
const ASK = `
import asyncio, json, sys
from synapse.api.room_versions import KNOWN_ROOM_VERSIONS
from synapse.event_auth import check_state_dependent_auth_rules, check_state_independent_auth_rules
from synapse.events import make_event_from_dict

def ask(case):
    rules = KNOWN_ROOM_VERSIONS[case["version"]]
    try:
        event = make_event_from_dict(case["event"], rules)
        if event.type == "m.room.create":
            asyncio.run(check_state_independent_auth_rules(None, event))
        else:
            state = [make_event_from_dict(each, rules) for each in case["state"]]
            check_state_dependent_auth_rules(event, state)
        return ""
    except Exception as error:
        return repr(error)

json.dump([ask(case) for case in json.load(sys.stdin)], sys.stdout)
`;

let python: string;
beforeAll(async () => {
  python = await synapsePython();
});

function askSynapse(scenes: readonly Scene[]): string[] {
  const cases = scenes.map(({ rules, event, state }) => ({ version: rules.id, event, state }));
  const run = spawnSync(python, ['-c', ASK], {
    input: JSON.stringify(cases),
    maxBuffer: 64 * 1024 * 1024,
  });
  if (run.status !== 0) throw new Error(run.stderr.toString());
  const answers = JSON.parse(run.stdout.toString()) as string[];
  expect(answers).toHaveLength(scenes.length);
  return answers;
}

test('shared vectors: the authorization rules of every version say what Synapse says', () => {
  const asked = allCases.flatMap((row) =>
    versionsOf(row).map((version) => ({ row, scene: sceneOf(row, version) })),
  );
  const answers = askSynapse(asked.map(({ scene }) => scene));
  const differing = asked.flatMap(({ row, scene }, index) => {
    const agrees = (answers[index] === '') === (row.denied === undefined);
    const told = row.synapseDiffers === undefined;
    return agrees === told ? [] : [`${row.title}, ${scene.rules.id}: ${answers[index]}`];
  });
  expect(differing).toEqual([]);
});

const user = fc.constantFrom(ALICE, ADMIN, MOD, USER, GUEST);
const membership = fc.constantFrom('join', 'invite', 'leave', 'ban', 'knock');
const level = fc.constantFrom(-1, 0, 0, 1, 25, 50, 50, 51, 100);
const levelsOf = (types: fc.Arbitrary<string>) => fc.dictionary(types, level, { maxKeys: 4 });
const levels: fc.Arbitrary<JsonObject> = fc.record(
  {
    users: levelsOf(user),
    events: levelsOf(fc.constantFrom('m.room.message', 'm.room.power_levels', 'm.room.topic', '__proto__')),
    notifications: levelsOf(fc.constantFrom('room', 'constructor')),
    users_default: level,
    events_default: level,
    state_default: level,
    ban: level,
    kick: level,
    redact: level,
    invite: level,
  },
  { requiredKeys: [] },
);
const memberEvent = fc
  .tuple(user, user, fc.boolean(), membership, fc.option(user, { nil: undefined }))
  .map(([sender, target, self, to, authoriser]) =>
    member(sender, self ? sender : target, to, {
      ...(authoriser === undefined ? {} : { join_authorised_via_users_server: authoriser }),
    }),
  );
const event: fc.Arbitrary<EventSketch> = fc.oneof(
  memberEvent,
  fc.tuple(memberEvent, fc.constantFrom('create' as const, 'nothing' as const)).map(([each, prev]) => ({
    ...each,
    prev,
  })),
  user.map((sender) => message(sender)),
  fc
    .tuple(user, fc.oneof(user, fc.constant('')))
    .map(([sender, key]) => state('m.room.topic', sender, {}, key)),
  user.map((sender) => state('m.room.third_party_invite', sender, {}, 'token')),
  user.map((sender) => state('m.room.aliases', sender, {}, 'away')),
  fc.tuple(user, fc.constantFrom('$a:home', '$a:away')).map(([sender, redacts]) => ({
    ...message(sender, {}, 'm.room.redaction'),
    more: { redacts },
  })),
);
const joinRule = fc.constantFrom(
  'public',
  'invite',
  'knock',
  'restricted',
  'knock_restricted',
  'private',
  null,
);
/** A room and one event in it; for power levels half of the time what they were, changed a little. */
const anyCase: fc.Arbitrary<AuthCase> = fc
  .record({
    levels: fc.option(levels),
    joinRule,
    members: fc.dictionary(user, membership, { maxKeys: 3 }),
    create: fc.constantFrom<JsonObject>({}, { additional_creators: [MOD] }, { 'm.federate': true }),
    event,
    change: fc.option(fc.tuple(user, levels, fc.boolean())),
  })
  .map(({ event, change, ...room }) => {
    if (change === null) return { title: '', room, event };
    const [sender, content, added] = change;
    const after = added ? { ...room.levels, ...content } : content;
    return { title: '', room, event: state('m.room.power_levels', sender, after) };
  });

test('authorization of random events in random rooms is what Synapse says', () => {
  const scenes = fc
    .sample(anyCase, { numRuns: 6000 })
    .map((each, i) => sceneOf(each, SUPPORTED_ROOM_VERSIONS[i % 12] as string));
  const ours = scenes.map(({ event, eventId, state: events, rules }) =>
    authorise(event, eventId, authStateOf(events), rules),
  );
  expect(ours.filter((verdict) => verdict.allowed).length).toBeGreaterThan(500);
  const answers = askSynapse(scenes);
  const differing = scenes.flatMap((scene, i) =>
    ours[i]?.allowed === (answers[i] === '') ? [] : [{ ...scene, ours: ours[i], synapse: answers[i] }],
  );
  expect(differing).toEqual([]);
});
