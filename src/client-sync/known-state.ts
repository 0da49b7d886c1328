import { JsonError } from '../matrix/json.ts';
import { type ByteRange, eachItem, MemberNames } from '../matrix/raw-items.ts';
import { eachInTurns } from '../platform/turns.ts';
import { stateSlot } from '../rooms/log-entries.ts';
import { joinedRoom } from './splice.ts';
import { STATE_NAMES } from './state-names.ts';
import type { Told } from './told-state.ts';

const COMMA = 0x2c;
const STATE = new MemberNames(...STATE_NAMES);
const EVENTS = new MemberNames('events');
const SLOT = new MemberNames('type', 'state_key', 'event_id');

interface Known {
  readonly slots: Told;
  readonly eventIds: ReadonlySet<string>;
}

/**
 * Where the state of a joined room repeats, in the bytes of a homeserver's `/sync` answer, what its peeker has:
 * the events, each with a comma, whose ID `told` has for their slot. Nothing of the timeline or of other rooms. A
 * long list is gone through with turns of the event loop between. `[]` where the room is not in `join`.
 */
export async function knownState(body: Buffer, roomId: string, told: Told): Promise<ByteRange[]> {
  if (told.size === 0) return [];
  try {
    const room = joinedRoom(body, roomId);
    const state = room && STATE.find(body, room).find((range) => range !== undefined);
    const list = state && EVENTS.find(body, state)[0];
    return list ? await known(body, list, { slots: told, eventIds: new Set(told.values()) }) : [];
  } catch (error) {
    if (error instanceof JsonError) return [];
    throw error;
  }
}

/** An event goes with the comma before it; while none before it stays, with the one behind it. */
async function known(body: Buffer, list: ByteRange, told: Known): Promise<ByteRange[]> {
  const cuts: ByteRange[] = [];
  let isFirst = true;
  let leading: ByteRange | null = null;
  await eachInTurns(eachItem(body, list), (item) => {
    if (leading !== null) cuts.push({ start: leading.start, end: item.start });
    leading = null;
    if (!isTold(body, item, told)) isFirst = false;
    else if (isFirst) leading = item;
    // Between two items there is nothing but blanks and the comma.
    else cuts.push({ start: body.lastIndexOf(COMMA, item.start), end: item.end });
  });
  return leading === null ? cuts : [...cuts, leading];
}

function isTold(body: Buffer, item: ByteRange, { slots, eventIds }: Known): boolean {
  const [type, key, id] = SLOT.find(body, item);
  const eventId = id && textAt(body, id);
  // Most events of a large room are none of these: nothing more is read of them.
  if (eventId === undefined || !eventIds.has(eventId) || type === undefined || key === undefined)
    return false;
  return slots.get(stateSlot(textAt(body, type) ?? '', textAt(body, key) ?? '')) === eventId;
}

function textAt(body: Buffer, { start, end }: ByteRange): string | undefined {
  const value: unknown = JSON.parse(body.toString('utf8', start, end));
  return typeof value === 'string' ? value : undefined;
}
