import { isObject, JsonError } from '../matrix/json.ts';
import { parseJson } from '../matrix/json-scan.ts';
import {
  type ByteRange,
  eachItem,
  memberSteps,
  type NamedMember,
  topLevelMembers,
} from '../matrix/raw-items.ts';
import { takeTurns } from '../platform/turns.ts';
import type { IgnoredSenders } from './ignored-users.ts';
import { eventsForUser } from './reader-events.ts';

const COMMA = Buffer.from(',');

/**
 * The homeserver's `/messages` to the reader, as another user is to have it. All functions here take turns with other
 * work, leave every byte that is not spoken of as it was, and reject with `JsonError` where the body is another one.
 */
export async function messagesFor(body: Buffer, ignored: IgnoredSenders): Promise<Buffer> {
  return Buffer.concat(await withChunk(body, await membersOf(body), ignored));
}

/**
 * The homeserver's `/initialSync` of a room: without the reader's membership, tags and account data, and without the
 * presence and the receipts of the room, of which a peeker is told nothing.
 */
export async function initialSyncFor(body: Buffer, ignored: IgnoredSenders): Promise<Buffer> {
  const members = await membersOf(body);
  const kept: Buffer[][] = [];
  for (const member of members) {
    const key = body.subarray(member.keyStart, member.start);
    if (member.name === 'membership') continue;
    if (member.name === 'presence' || member.name === 'receipts' || member.name === 'account_data') {
      kept.push([key, Buffer.from('[]')]);
    } else if (member.name === 'messages') {
      const messages = body.subarray(member.start, member.end);
      const inside = [...topLevelMembers(messages)].map(([name, range]) => ({ name, ...range }));
      kept.push([key, ...(await withChunk(messages, inside, ignored))]);
    } else kept.push([body.subarray(member.keyStart, member.end)]);
  }
  const joined = kept.flatMap((parts, at) => (at === 0 ? parts : [COMMA, ...parts]));
  return Buffer.concat([Buffer.from('{'), ...joined, Buffer.from('}')]);
}

/** `/joined_members` out of the homeserver's `/members?membership=join`: names and pictures, null where there is none. */
export async function joinedMembersOf(body: Buffer): Promise<Buffer> {
  const turn = takeTurns();
  const chunk = (await membersOf(body)).find(({ name }) => name === 'chunk');
  if (chunk === undefined) throw new JsonError('not-json', 'An answer without members');
  const joined: string[] = [];
  for (const item of eachItem(body, chunk)) {
    const member = memberOf(body, item);
    if (member !== null) joined.push(member);
    const pause = turn();
    if (pause !== undefined) await pause;
  }
  return Buffer.from(`{"joined":{${joined.join(',')}}}`);
}

/** Null for what is no member event. */
function memberOf(body: Buffer, { start, end }: ByteRange): string | null {
  const event = eventOf(body.subarray(start, end));
  if (!isObject(event) || typeof event.state_key !== 'string' || !isObject(event.content)) return null;
  const { displayname, avatar_url: avatarUrl } = event.content;
  const profile = {
    avatar_url: typeof avatarUrl === 'string' ? avatarUrl : null,
    display_name: typeof displayname === 'string' ? displayname : null,
  };
  return `${JSON.stringify(event.state_key)}:${JSON.stringify(profile)}`;
}

/** An event nested too deep costs itself. */
function eventOf(bytes: Buffer): unknown {
  try {
    return parseJson(bytes);
  } catch (error) {
    if (error instanceof JsonError) return null;
    throw error;
  }
}

async function withChunk(
  body: Buffer,
  members: readonly NamedMember[],
  ignored: IgnoredSenders,
): Promise<Buffer[]> {
  const chunk = members.find(({ name }) => name === 'chunk');
  if (chunk === undefined) throw new JsonError('not-json', 'An answer without events');
  const events = await eventsForUser(body, chunk, ignored);
  return [body.subarray(0, chunk.start), ...events, body.subarray(chunk.end)];
}

async function membersOf(body: Buffer): Promise<NamedMember[]> {
  const turn = takeTurns();
  const members: NamedMember[] = [];
  for (const member of memberSteps(body)) {
    if (member !== null) members.push(member);
    const pause = turn();
    if (pause !== undefined) await pause;
  }
  return members;
}
