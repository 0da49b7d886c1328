import { isObject, type Json, type JsonObject, ownMember } from '../json.ts';
import type { Pdu } from '../pdu.ts';
import type { RoomVersionRules } from '../room-versions.ts';
import { creatorOf, outrankingCreators } from './creators.ts';

/** The levels of actions, and what they are where the room does not say (client-server API, `m.room.power_levels`). */
const ACTION_DEFAULTS = { ban: 50, kick: 50, redact: 50, invite: 0 } as const;
const STATE_DEFAULT = 50;
const EVENTS_DEFAULT = 0;
const USERS_DEFAULT = 0;
/** The creator's level as long as the room has no power levels. */
const CREATOR_LEVEL = 100;

const INTEGER_TEXT = /^\s*[+-]?[0-9]+\s*$/;

/**
 * A level as versions 1–9 write it: an integer, a float (cut at the point) or a text that is an integer. NaN
 * for anything else and for what a double cannot hold. What version 10 on allows is read the same.
 */
export function readLevel(value: Json): number {
  if (typeof value === 'number') return Number.isFinite(value) ? Math.trunc(value) : Number.NaN;
  if (typeof value !== 'string' || !INTEGER_TEXT.test(value)) return Number.NaN;
  const level = Number(value);
  return Number.isFinite(level) ? level : Number.NaN;
}

/**
 * The user's power level: Infinity for the creators of a version 12 room; NaN where the room says something
 * that is no level. NaN is neither below nor above anything: ask what must hold (`level >= needed`), never
 * what must not.
 */
export function powerLevelOf(
  userId: string,
  levels: Pdu | null,
  create: Pdu,
  rules: RoomVersionRules,
): number {
  if (outrankingCreators(create, rules).has(userId)) return Number.POSITIVE_INFINITY;
  if (levels === null) return creatorOf(create, rules) === userId ? CREATOR_LEVEL : USERS_DEFAULT;
  return entryOf(levels.content, 'users', userId) ?? fieldOf(levels, 'users_default') ?? USERS_DEFAULT;
}

/** The level needed to send an event of that type; NaN as with `powerLevelOf`. */
export function requiredLevel(type: string, isState: boolean, levels: Pdu | null): number {
  if (levels === null) return isState ? STATE_DEFAULT : EVENTS_DEFAULT;
  const own = entryOf(levels.content, 'events', type);
  if (own !== undefined) return own;
  return isState
    ? (fieldOf(levels, 'state_default') ?? STATE_DEFAULT)
    : (fieldOf(levels, 'events_default') ?? EVENTS_DEFAULT);
}

/** The level needed to ban, kick, invite, or redact what others sent; NaN as with `powerLevelOf`. */
export function actionLevel(action: keyof typeof ACTION_DEFAULTS, levels: Pdu | null): number {
  return (levels === null ? undefined : fieldOf(levels, action)) ?? ACTION_DEFAULTS[action];
}

/** Undefined where it is absent or null. */
function fieldOf(levels: Pdu, name: string): number | undefined {
  const value = ownMember(levels.content, name);
  return value === undefined || value === null ? undefined : readLevel(value);
}

function entryOf(content: JsonObject, family: 'users' | 'events', name: string): number | undefined {
  const entries = ownMember(content, family);
  if (entries === undefined) return undefined;
  if (!isObject(entries)) return Number.NaN;
  const value = ownMember(entries, name);
  return value === undefined || value === null ? undefined : readLevel(value);
}
