import { JsonError } from '../matrix/json.ts';
import { type ByteRange, MemberNames } from '../matrix/raw-items.ts';
import { STATE_NAMES, type StateName } from './state-names.ts';
import { layoutOf, type ObjectPlace, type SyncLayout } from './sync-layout.ts';

/** Which rooms a homeserver's `/sync` answer speaks of, and its token. */
export interface SyncRooms {
  readonly nextBatch: string;
  readonly join: ReadonlySet<string>;
  readonly invite: ReadonlySet<string>;
  readonly knock: ReadonlySet<string>;
  readonly leave: ReadonlySet<string>;
  /** The name that its rooms have their state under; null where no room tells. */
  readonly stateName: StateName | null;
}

/** What is added to an answer. */
export interface Additions {
  /** Makes the token for the client out of the homeserver's. */
  readonly nextBatch: (homeserverToken: string) => string;
  /** The members of `rooms.peek` as JSON, without the braces: `"!a:b":{…},"!c:d":{…}`; `''` for no section. */
  readonly peek: string;
  /** Room ID → JSON of its entry in `rooms.leave`. */
  readonly leave: ReadonlyMap<string, string>;
  /** Stretches of the homeserver's bytes that are left out, none of them in another: see `knownState`. */
  readonly cuts?: readonly ByteRange[];
}

interface Edit {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

const STATE_MEMBERS = new MemberNames(...STATE_NAMES);

/** null when the body is no `/sync` answer: not a whole JSON object, or one without a `next_batch`. */
export function roomsIn(body: Buffer): SyncRooms | null {
  const layout = layoutOf(body);
  return layout === null ? null : roomsOf(body, layout);
}

/** The token of a `/sync` answer; null when the body is none. */
export function nextBatchOf(body: Buffer): string | null {
  return layoutOf(body)?.token ?? null;
}

/**
 * Puts our sections into a homeserver's answer. All that is not added or `next_batch` stays byte for byte as it
 * was. A room that the homeserver has in any section is not added to `leave`. null when the body is no `/sync`
 * answer: it then goes to the client as it is.
 */
export function spliceSync(body: Buffer, ours: Additions): ({ readonly body: Buffer } & SyncRooms) | null {
  const layout = layoutOf(body);
  if (layout === null) return null;
  const rooms = roomsOf(body, layout);
  const taken = [rooms.join, rooms.invite, rooms.knock, rooms.leave];
  const leave = [...ours.leave].filter(([roomId]) => !taken.some((section) => section.has(roomId)));
  const token = ours.nextBatch(layout.token);
  const edits = additions(layout, ours.peek, members(leave));
  if (token !== layout.token) edits.push({ ...layout.nextBatch, text: JSON.stringify(token) });
  for (const { start, end } of ours.cuts ?? []) edits.push({ start, end, text: '' });
  return { body: edited(body, edits), ...rooms };
}

/**
 * What an answer of ours says of the device's one-time keys, which we do not know. Without the field a client
 * takes it that none are left (client-server API, "Extensions to /sync" of end-to-end encryption), and makes and
 * uploads as many as it may hold, after each such answer anew, until it has thrown away those that others still
 * use. 50 is what clients keep at the homeserver; the homeserver's own next answer has the true count.
 */
const ENOUGH_KEYS = '"device_one_time_keys_count":{"signed_curve25519":50}';

/** "Nothing new", under a token that does not move. */
export function emptyAnswer(since: string): Buffer {
  return Buffer.from(`{"next_batch":${JSON.stringify(since)},${ENOUGH_KEYS}}`);
}

/** An answer of ours alone, for when the homeserver's is not waited for: its token does not move. */
export function ownAnswer(homeserverToken: string, ours: Additions): Buffer {
  const sections: string[] = [];
  if (ours.peek !== '') sections.push(`"peek":{${ours.peek}}`);
  if (ours.leave.size > 0) sections.push(`"leave":{${members(ours.leave)}}`);
  const nextBatch = JSON.stringify(ours.nextBatch(homeserverToken));
  return Buffer.from(`{"next_batch":${nextBatch},${ENOUGH_KEYS},"rooms":{${sections.join(',')}}}`);
}

function roomsOf(body: Buffer, layout: SyncLayout): SyncRooms {
  const ids = (name: string) => new Set(layout.sections.get(name)?.members.keys());
  return {
    nextBatch: layout.token,
    join: ids('join'),
    invite: ids('invite'),
    knock: ids('knock'),
    leave: ids('leave'),
    stateName: stateNameOf(body, layout),
  };
}

function stateNameOf(body: Buffer, { sections }: SyncLayout): StateName | null {
  for (const section of ['join', 'leave']) {
    for (const room of sections.get(section)?.members.values() ?? []) {
      const found = stateMembers(body, room).findIndex((range) => range !== undefined);
      if (found >= 0) return STATE_NAMES[found] ?? null;
    }
  }
  return null;
}

/** A room that is no object says nothing. */
function stateMembers(body: Buffer, room: ByteRange): (ByteRange | undefined)[] {
  try {
    return STATE_MEMBERS.find(body, room);
  } catch (error) {
    if (error instanceof JsonError) return [];
    throw error;
  }
}

/** Where the object of a room in `rooms.join` is; null where the body has none. */
export function joinedRoom(body: Buffer, roomId: string): ByteRange | null {
  return layoutOf(body)?.sections.get('join')?.members.get(roomId) ?? null;
}

function additions(layout: SyncLayout, peek: string, leave: string): Edit[] {
  const edits: Edit[] = [];
  const fresh: string[] = [];
  for (const [name, text] of [
    ['peek', peek],
    ['leave', leave],
  ] as const) {
    const section = layout.sections.get(name);
    if (text === '') continue;
    if (section === undefined) fresh.push(`"${name}":{${text}}`);
    else edits.push(insertion(section, text));
  }
  if (fresh.length === 0) return edits;
  const text = fresh.join(',');
  edits.push(layout.rooms ? insertion(layout.rooms, text) : insertion(layout.top, `"rooms":{${text}}`));
  return edits;
}

/** Puts members at the beginning of an object. */
function insertion(object: ObjectPlace, text: string): Edit {
  const at = object.start + 1;
  return { start: at, end: at, text: object.members.size === 0 ? text : `${text},` };
}

function members(entries: Iterable<readonly [key: string, json: string]>): string {
  return Array.from(entries, ([key, json]) => `${JSON.stringify(key)}:${json}`).join(',');
}

function edited(body: Buffer, edits: readonly Edit[]): Buffer {
  if (edits.length === 0) return body;
  const parts: Buffer[] = [];
  let at = 0;
  for (const edit of [...edits].sort((a, b) => a.start - b.start)) {
    parts.push(body.subarray(at, edit.start), Buffer.from(edit.text));
    at = edit.end;
  }
  return Buffer.concat([...parts, body.subarray(at)]);
}
