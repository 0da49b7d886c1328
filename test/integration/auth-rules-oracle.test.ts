import { spawnSync } from 'node:child_process';
import { beforeAll, expect, test } from 'vitest';
import { synapsePython } from '../support/synapse-environment.ts';
import { allCases } from '../unit/matrix/auth-rules/cases/all.ts';
import { sceneOf, versionsOf } from '../unit/matrix/auth-rules/sketch.ts';

/** For each case whether Synapse's rules allow it; whatever they raise is a no. */
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

test('shared vectors: the authorization rules of every version say what Synapse says', () => {
  const asked = allCases.flatMap((row) =>
    versionsOf(row).map((version) => {
      const { event, state } = sceneOf(row, version);
      return { row, version, event, state };
    }),
  );
  const run = spawnSync(python, ['-c', ASK], {
    input: JSON.stringify(asked.map(({ version, event, state }) => ({ version, event, state }))),
    maxBuffer: 64 * 1024 * 1024,
  });
  if (run.status !== 0) throw new Error(run.stderr.toString());
  const answers = JSON.parse(run.stdout.toString()) as string[];
  expect(answers).toHaveLength(asked.length);
  const differing = asked.flatMap(({ row, version }, index) => {
    const agrees = (answers[index] === '') === (row.denied === undefined);
    return agrees === (row.synapseDiffers === undefined)
      ? []
      : [`${row.title}, ${version}: ${answers[index]}`];
  });
  expect(differing).toEqual([]);
});
