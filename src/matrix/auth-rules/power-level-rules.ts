import { isUserId } from '../ids.ts';
import { isObject, type Json, type JsonObject, ownMember } from '../json.ts';
import type { RoomVersionRules } from '../room-versions.ts';
import { type AuthContext, levelOf } from './auth-state.ts';
import { outrankingCreators } from './creators.ts';
import { readLevel } from './power-levels.ts';
import { ALLOWED, denied, type Verdict } from './verdict.ts';

const FIELDS = ['users_default', 'events_default', 'state_default', 'ban', 'redact', 'kick', 'invite'];

/** `m.room.power_levels`: rule 10 in versions 1–5 and 12, 9 in between. */
export function authorisePowerLevels(context: AuthContext): Verdict {
  const { event, levels, create, rules } = context;
  const fault =
    shapeFault(event.content, rules) ?? creatorFault(event.content, outrankingCreators(create, rules));
  if (fault !== undefined) return denied(fault);
  if (levels === null) return ALLOWED;
  const changeFault = faultOfChanges(levels.content, event.content, context);
  return changeFault === undefined ? ALLOWED : denied(changeFault);
}

/**
 * Before version 10 only `users` must have the right shape; whatever else has not is refused as soon as it is
 * compared.
 */
function shapeFault(content: JsonObject, rules: RoomVersionRules): string | undefined {
  const strict = rules.auth.integerPowerLevels;
  const isLevel = strict ? Number.isSafeInteger : (value: Json) => !Number.isNaN(readLevel(value));
  if (strict) {
    for (const name of FIELDS) {
      const value = ownMember(content, name);
      if (value !== undefined && !isLevel(value)) return 'a power level is no integer';
    }
    for (const family of ['events', 'notifications']) {
      const entries = ownMember(content, family);
      if (entries === undefined) continue;
      if (!isObject(entries) || !Object.values(entries).every(isLevel)) {
        return 'events or notifications has something else than integers';
      }
    }
  }
  const users = ownMember(content, 'users');
  if (users === undefined) return undefined;
  if (!isObject(users)) return 'users is no object';
  if (!Object.keys(users).every(isUserId)) return 'users has something else than user IDs';
  return Object.values(users).every(isLevel) ? undefined : 'users has something else than power levels';
}

function creatorFault(content: JsonObject, creators: ReadonlySet<string>): string | undefined {
  const users = isObject(content.users) ? content.users : {};
  for (const creator of creators) {
    if (Object.hasOwn(users, creator)) return 'users has a creator of the room';
  }
  return undefined;
}

/** Nobody changes what is above them, raises anything above them, or changes another one of their own level. */
function faultOfChanges(before: JsonObject, after: JsonObject, context: AuthContext): string | undefined {
  const { sender } = context.event;
  const level = levelOf(sender, context);
  if (
    changesOf(before, after, FIELDS).some(({ from, to }) => !isWithin(from, level) || !isWithin(to, level))
  ) {
    return "a level above the sender's is changed or set";
  }
  const families = context.rules.auth.notificationLevels ? ['events', 'notifications'] : ['events'];
  for (const family of [...families, 'users']) {
    const [old, now] = [entriesOf(before, family), entriesOf(after, family)];
    if (old === undefined || now === undefined) return `${family} is no object`;
    for (const { name, from, to } of changesOf(old, now, [...Object.keys(old), ...Object.keys(now)])) {
      if (!isWithin(to, level)) return `an entry of ${family} is set above the sender's level`;
      if (family === 'users' && name !== sender) {
        if (from !== undefined && !(from < level)) return "a user of the sender's level or above is changed";
      } else if (!isWithin(from, level)) {
        return `an entry of ${family} above the sender's level is changed`;
      }
    }
  }
  return undefined;
}

interface LevelChange {
  readonly name: string;
  /** Undefined where it was not there. */
  readonly from: number | undefined;
  readonly to: number | undefined;
}

/** What is no level (NaN) differs from everything, itself included. */
function changesOf(before: JsonObject, after: JsonObject, names: readonly string[]): LevelChange[] {
  return names
    .map((name) => ({ name, from: levelIn(before, name), to: levelIn(after, name) }))
    .filter(({ from, to }) => from !== to);
}

function levelIn(object: JsonObject, name: string): number | undefined {
  const value = ownMember(object, name);
  return value === undefined ? undefined : readLevel(value);
}

function entriesOf(content: JsonObject, family: string): JsonObject | undefined {
  const entries = ownMember(content, family);
  if (entries === undefined) return {};
  return isObject(entries) ? entries : undefined;
}

function isWithin(value: number | undefined, level: number): boolean {
  return value === undefined || value <= level;
}
