import { JsonError } from '../matrix/json.ts';
import { type ByteRange, type MemberRange, membersInto, soleObject } from '../matrix/raw-items.ts';

/** An object in the body: where its `{` is and where the values of its members are. */
export interface ObjectPlace {
  readonly start: number;
  readonly members: ReadonlyMap<string, MemberRange>;
}

/** Where in the bytes of a homeserver's `/sync` answer its token, its sections and their rooms stand. */
export interface SyncLayout {
  readonly top: ObjectPlace;
  readonly nextBatch: ByteRange;
  readonly token: string;
  readonly rooms: ObjectPlace | null;
  readonly sections: ReadonlyMap<string, ObjectPlace>;
}

const SECTIONS: ReadonlySet<string> = new Set(['join', 'invite', 'knock', 'leave', 'peek']);
/** An answer may be of megabytes, and several ask about it. */
const known = new WeakMap<Buffer, SyncLayout | null>();

/**
 * Found in one pass over the bytes, the first time that it is asked for them: they are not to change afterwards.
 * null when the body is no `/sync` answer: not a whole JSON object, or one without a `next_batch`.
 */
export function layoutOf(body: Buffer): SyncLayout | null {
  const found = known.get(body);
  if (found !== undefined) return found;
  const layout = find(body);
  known.set(body, layout);
  return layout;
}

function find(body: Buffer): SyncLayout | null {
  try {
    return read(body);
  } catch (error) {
    if (error instanceof JsonError) return null;
    throw error;
  }
}

/** Of a name that is given twice the last one counts, as in `JSON.parse`. */
function read(body: Buffer): SyncLayout | null {
  let rooms: ObjectPlace | null = null;
  let sections = new Map<string, ObjectPlace>();
  const top = soleObject(body, (open) => ({
    start: open,
    ...membersInto(body, open, (key, start) => {
      if (key !== 'rooms') return null;
      sections = new Map();
      const { members, end } = membersInto(body, start, (name, at) => {
        if (!SECTIONS.has(name)) return null;
        const section = membersInto(body, at, () => null);
        sections.set(name, { start: at, members: section.members });
        return section.end;
      });
      rooms = { start, members };
      return end;
    }),
  }));
  const nextBatch = top.members.get('next_batch');
  const token = nextBatch && stringAt(body, nextBatch);
  if (nextBatch === undefined || typeof token !== 'string') return null;
  return { top, nextBatch, token, rooms, sections };
}

function stringAt(body: Buffer, range: ByteRange): string | null {
  try {
    const value: unknown = JSON.parse(body.toString('utf8', range.start, range.end));
    return typeof value === 'string' ? value : null;
  } catch {
    return null;
  }
}
