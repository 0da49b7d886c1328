import { spawnSync } from 'node:child_process';
import fc from 'fast-check';
import { beforeAll, expect, test } from 'vitest';
import { encodeBase64 } from '../../src/matrix/base64.ts';
import { canonicalJson } from '../../src/matrix/canonical-json.ts';
import { eventIdOf } from '../../src/matrix/event-id.ts';
import { contentHash } from '../../src/matrix/hashes.ts';
import type { Json, JsonObject } from '../../src/matrix/json.ts';
import { redact } from '../../src/matrix/redaction.ts';
import {
  type RoomVersionRules,
  roomVersion,
  SUPPORTED_ROOM_VERSIONS,
} from '../../src/matrix/room-versions.ts';
import { signJson, verifySignedJson } from '../../src/matrix/signed-json.ts';
import { parseSigningKeys, type SigningKey } from '../../src/matrix/signing-key.ts';
import { synapsePython } from '../support/synapse-environment.ts';

const SEED = 'YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1';
const key = parseSigningKeys(`ed25519 1 ${SEED}`)[0] as SigningKey;

let python: string;
beforeAll(async () => {
  python = await synapsePython();
});

/** Runs `body` with `cases` read from stdin; it fills `results`. */
function ask(body: string, cases: Json): Json[] {
  const script = [
    'import json, sys',
    'cases, results = json.load(sys.stdin), []',
    body,
    'json.dump(results, sys.stdout)',
  ].join('\n');
  const run = spawnSync(python, ['-c', script], {
    input: JSON.stringify(cases),
    maxBuffer: 64 * 1024 * 1024,
  });
  if (run.status !== 0) throw new Error(run.stderr.toString());
  return JSON.parse(run.stdout.toString()) as Json[];
}

const text = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 6 }),
  fc.string({ unit: 'binary', maxLength: 6 }),
  fc.constantFrom('\uff61', '😀', '\ue000', '__proto__', 'toJSON', 'a', '10', '9'),
);
const { value } = fc.letrec<{ value: Json }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    text,
    fc.maxSafeInteger(),
    fc.boolean(),
    fc.constant(null),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(text, tie('value'), { maxKeys: 8 }),
  ),
}));
const objects = fc.dictionary(text, value, { maxKeys: 8 });
const SAMPLE = { numRuns: 300 } as const;

test('canonical JSON is what Python canonicaljson writes', () => {
  const cases = fc.sample(value, { numRuns: 3000 });
  const theirs = ask(
    'from canonicaljson import encode_canonical_json\n' +
      'for case in cases: results.append(encode_canonical_json(case).decode())',
    cases,
  );
  expect(cases.map((each) => canonicalJson(each))).toEqual(theirs);
});

test('tolerated floats are written as Python writes them', () => {
  const floats = fc.double({ noNaN: true, noDefaultInfinity: true }).filter((n) => !Number.isInteger(n));
  const cases = fc.sample(floats, SAMPLE);
  const theirs = ask(
    'from canonicaljson import encode_canonical_json\n' +
      'for case in cases: results.append(encode_canonical_json(case).decode())',
    cases,
  );
  expect(cases.map((each) => canonicalJson(each, { allowFloats: true }))).toEqual(theirs);
});

test('what Python signedjson signs is what is signed here, and verifies', () => {
  const cases = fc.sample(objects, SAMPLE) as JsonObject[];
  const bare = cases.map(({ signatures: _s, unsigned: _u, ...rest }) => rest as JsonObject);
  const theirs = ask(
    'from signedjson.key import decode_signing_key_base64\n' +
      'from signedjson.sign import sign_json\n' +
      `key = decode_signing_key_base64("ed25519", "1", "${SEED}")\n` +
      'for case in cases: results.append(sign_json(case, "domain", key))',
    bare,
  ) as JsonObject[];
  expect(bare.map((each) => signJson(each, 'domain', key))).toEqual(theirs);
  for (const signed of theirs) {
    expect(verifySignedJson(signed, 'domain', 'ed25519:1', key.publicKey)).toBe(true);
  }
});

test('redaction, content hash and event ID are those of Synapse, in every room version', () => {
  const types = [
    'm.room.create',
    'm.room.member',
    'm.room.join_rules',
    'm.room.power_levels',
    'm.room.aliases',
    'm.room.history_visibility',
    'm.room.redaction',
    'm.room.message',
  ];
  const names = [
    ...['membership', 'creator', 'join_rule', 'allow', 'ban', 'events', 'invite', 'kick', 'users', 'aliases'],
    ...[
      'history_visibility',
      'redacts',
      'third_party_invite',
      'join_authorised_via_users_server',
      'notifications',
    ],
  ];
  const content = fc.dictionary(
    fc.constantFrom(...names),
    fc.oneof(value, fc.constant({ signed: { a: 1 }, b: 2 })),
  );
  const events = fc.record({
    version: fc.constantFrom(...SUPPORTED_ROOM_VERSIONS),
    extra: fc.dictionary(fc.constantFrom('origin', 'membership', 'prev_state', 'redacts', 'x'), value),
    type: fc.constantFrom(...types),
    content,
  });
  const cases = fc.sample(events, SAMPLE).map(({ version, extra, type, content: body }, index) => {
    const rules = roomVersion(version) as RoomVersionRules;
    const event: JsonObject = {
      ...extra,
      type,
      content: body,
      sender: '@a:domain',
      state_key: '',
      depth: index,
      origin_server_ts: 1,
      prev_events: [],
      auth_events: [],
      hashes: { sha256: 'x' },
      signatures: {},
    };
    if (!(rules.hashRoomIds && type === 'm.room.create'))
      event.room_id = rules.hashRoomIds ? `!${'r'.repeat(43)}` : '!r:domain';
    if (rules.eventIds === 'named') event.event_id = `$e${index}:domain`;
    return { version, event };
  });
  const theirs = ask(
    [
      'import copy',
      'from unpaddedbase64 import encode_base64',
      'from synapse.api.room_versions import KNOWN_ROOM_VERSIONS',
      'from synapse.crypto.event_signing import compute_content_hash',
      'from synapse.events import make_event_from_dict',
      'from synapse.synapse_rust.events import redact_event_dict',
      'import hashlib',
      'for case in cases:',
      '    rules = KNOWN_ROOM_VERSIONS[case["version"]]',
      '    redacted = redact_event_dict(rules, case["event"])',
      '    redacted.pop("unsigned", None)',
      '    event = make_event_from_dict(copy.deepcopy(case["event"]), rules)',
      '    content_hash = compute_content_hash(case["event"], hashlib.sha256)[1]',
      '    results.append([redacted, event.event_id, encode_base64(content_hash)])',
    ].join('\n'),
    cases,
  );
  const ours = cases.map(({ version, event }) => {
    const rules = roomVersion(version) as RoomVersionRules;
    return [redact(event, rules), eventIdOf(event, rules), encodeBase64(contentHash(event))];
  });
  expect(ours).toEqual(theirs);
});
