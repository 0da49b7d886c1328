import { isObject } from '../matrix/json.ts';
import { pduOf, stateSlot } from '../rooms/log-entries.ts';
import type { StateEvent, Wanted } from '../rooms/state-at.ts';
import type { LogEntry } from '../store/store.ts';
import type { SectionEvent } from './section.ts';
import { type SectionEvents, type SectionScene, slotOf } from './section-events.ts';
import type { Told } from './told-state.ts';

const MEMBER = 'm.room.member';

export interface StateOptions {
  /** State at the end of the timeline instead of its start (MSC4222). */
  readonly after: boolean;
  /** null: members are sent like other state. */
  readonly lazyMembers: { readonly redundant: boolean } | null;
  /** The device begins anew: it is to be told of no change before the timeline. */
  readonly anew: boolean;
  /** What the device has. */
  readonly told: Told;
}

/** Where the present state of members is had from. */
export type MemberOf = (userId: string) => Promise<StateEvent | null>;

/**
 * Which state a whole one is made of: lazily loading clients get of the members those who sent the timeline, the
 * user, and those whom they were told of.
 */
export function wantedState({ stretch, viewer }: SectionScene, { lazyMembers, told }: StateOptions): Wanted {
  if (lazyMembers === null) return () => true;
  const speakers = new Set([viewer.userId, ...sendersOf(stretch.timeline)]);
  return (type, key) => type !== MEMBER || speakers.has(key) || told.has(stateSlot(type, key));
}

/** The whole state of a section. `base` is what is wanted of the room's state before the timeline, or after it. */
export async function wholeState(
  scene: SectionScene,
  events: SectionEvents,
  base: readonly StateEvent[],
  show: (event: StateEvent) => SectionEvent,
  options: StateOptions,
): Promise<SectionEvent[]> {
  const { stretch } = scene;
  const wanted = wantedState(scene, options);
  const listed = new Set(options.after ? [] : stretch.timeline.map(({ eventId }) => eventId));
  const state = new Map<string, SectionEvent>();
  for (const held of base) {
    const slot = stateSlot(String(held.event.type), String(held.event.state_key));
    if (!listed.has(held.eventId)) state.set(slot, show(held));
  }
  for (const entry of options.after ? [] : stretch.skippedState) {
    const slot = slotOf(entry);
    const isNews = entry.position > stretch.start && wanted(entry.type, entry.stateKey ?? '');
    if (slot !== null && (isNews || !options.anew)) state.set(slot, await events.state(entry));
  }
  return [...state.values()];
}

/** The state between two sections: what the timeline leaves out, or (MSC4222) all that changed. */
export async function changedState(
  scene: SectionScene,
  events: SectionEvents,
  memberOf: MemberOf,
  show: (event: StateEvent) => SectionEvent,
  options: StateOptions,
): Promise<SectionEvent[]> {
  const { stretch } = scene;
  const changes = new Map<string, SectionEvent>();
  for (const entry of options.after ? allChanges(stretch) : stretch.skippedState) {
    const slot = slotOf(entry);
    if (slot !== null) changes.set(slot, await events.state(entry));
  }
  if (options.lazyMembers === null) return [...changes.values()];
  for (const sender of sendersOf(stretch.timeline)) {
    const slot = stateSlot(MEMBER, sender);
    if (changes.has(slot)) continue;
    const member = await memberAround(scene, sender, memberOf, options.after);
    if (member === null) continue;
    const isKnown = options.told.get(slot) === member.eventId;
    if (options.lazyMembers.redundant || !isKnown) changes.set(slot, show(member));
  }
  return [...changes.values()];
}

/** Without the timeline's state, which the client may not take from there, none of these would be told. */
function allChanges({ skippedState, timeline }: SectionScene['stretch']): LogEntry[] {
  return [...skippedState, ...timeline].toSorted((one, other) => one.position - other.position);
}

/** Who is whom at the start of the timeline, or after it. */
async function memberAround(
  { stretch, earlier }: SectionScene,
  userId: string,
  memberOf: MemberOf,
  after: boolean,
): Promise<StateEvent | null> {
  const own = stretch.around.filter((e) => e.type === MEMBER && e.stateKey === userId && e.applied);
  const [first] = own;
  if (after || first === undefined) return memberOf(userId);
  return first.replaces === null ? null : earlier(first.replaces);
}

function sendersOf(timeline: readonly LogEntry[]): Set<string> {
  const senders = new Set<string>();
  for (const entry of timeline) {
    const { sender } = pduOf(entry);
    if (typeof sender === 'string') senders.add(sender);
  }
  return senders;
}

/** The user's membership in the state before a stretch; null where it does not say. */
export function membershipAt(
  state: readonly StateEvent[],
  { around }: SectionScene['stretch'],
  userId: string,
): string | null {
  const member = state.find(({ event }) => event.type === MEMBER && event.state_key === userId);
  // The first events of a remote log are there without the state between them.
  if (around.some(({ eventId }) => eventId === member?.eventId)) return null;
  const content = member?.event.content;
  return isObject(content) && typeof content.membership === 'string' ? content.membership : null;
}
