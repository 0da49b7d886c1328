import { describe, expect, it } from 'vitest';
import { NOBODY_IGNORED } from '../../../src/client-view/ignored-users.ts';
import { initialSyncFor, joinedMembersOf, messagesFor } from '../../../src/client-view/reader-answers.ts';
import { JsonError } from '../../../src/matrix/json.ts';
import { longestTask } from '../../support/longest-task.ts';

/** Others wait no longer than ten times what a slice of such work is given. */
const LONGEST_MS = 100;

function members(count: number) {
  return Array.from({ length: count }, (_, i) => ({
    type: 'm.room.member',
    sender: `@user${i}:a.test`,
    state_key: `@user${i}:a.test`,
    content: { membership: 'join', displayname: `User ${i}`, avatar_url: 'mxc://a.test/picture' },
    unsigned: { age: 5 },
  }));
}

describe('of a room with 28 000 members', () => {
  const crowd = members(28_000);

  it('/joined_members is made in slices', async () => {
    const body = Buffer.from(JSON.stringify({ chunk: crowd }));
    let joined: Buffer | undefined;
    const longest = await longestTask(async () => {
      joined = await joinedMembersOf(body);
    });
    expect(Object.keys(JSON.parse(String(joined)).joined)).toHaveLength(28_000);
    expect(longest).toBeLessThan(LONGEST_MS);
  });

  it('/initialSync is gone through in slices, and its state stays byte for byte', async () => {
    const state = JSON.stringify(crowd);
    const presence = JSON.stringify(crowd.map(({ sender }) => ({ content: { user_id: sender } })));
    const body = Buffer.from(
      `{"messages":{"chunk":[]},"state":${state},"presence":${presence},"receipts":[]}`,
    );
    let rewritten: Buffer | undefined;
    const longest = await longestTask(async () => {
      rewritten = await initialSyncFor(body, NOBODY_IGNORED);
    });
    expect(String(rewritten)).toBe(`{"messages":{"chunk":[]},"state":${state},"presence":[],"receipts":[]}`);
    expect(longest).toBeLessThan(LONGEST_MS);
  });
});

it('what is not known of an /initialSync stays where it was', async () => {
  const body =
    '{ "membership" : "leave" , "new":[1, 2.50], "messages":{ "end":"e", "chunk": [ ] ,"start":"s"} }';
  expect(String(await initialSyncFor(Buffer.from(body), NOBODY_IGNORED))).toBe(
    '{"new":[1, 2.50],"messages":{ "end":"e", "chunk": [] ,"start":"s"}}',
  );
});

it.each(['', '[]', 'null', '{}', '{"chunk":{}}', '{"chunk":[}'])(
  '%j is no /messages ⇒ JsonError',
  async (body) => {
    await expect(messagesFor(Buffer.from(body), NOBODY_IGNORED)).rejects.toThrow(JsonError);
  },
);
