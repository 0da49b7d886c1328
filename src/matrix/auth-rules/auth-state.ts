import { type Pdu, stateKeyOf } from '../pdu.ts';
import type { RoomVersionRules } from '../room-versions.ts';
import { powerLevelOf } from './power-levels.ts';

/**
 * The state an event is authorised against. Asked for `m.room.create` it gives the room's create event in
 * every version, also where `auth_events` do not name it (12 on).
 */
export type AuthState = (type: string, stateKey: string) => Pdu | null;

/** What the rules past those of `m.room.create` look at. */
export interface AuthContext {
  readonly event: Pdu;
  readonly eventId: string;
  readonly state: AuthState;
  readonly create: Pdu;
  /** The power levels in force; null where the room has none. */
  readonly levels: Pdu | null;
  readonly rules: RoomVersionRules;
}

/** The state that these events make; of two with the same type and state key the later one counts. */
export function authStateOf(events: Iterable<Pdu>): AuthState {
  const byType = new Map<string, Map<string, Pdu>>();
  for (const event of events) {
    const stateKey = stateKeyOf(event);
    if (stateKey === null) continue;
    const ofType = byType.get(event.type) ?? new Map<string, Pdu>();
    byType.set(event.type, ofType.set(stateKey, event));
  }
  return (type, stateKey) => byType.get(type)?.get(stateKey) ?? null;
}

/** The user's membership; undefined for who never had one. */
export function membershipOf(userId: string, { state }: AuthContext): string | undefined {
  const membership = state('m.room.member', userId)?.content.membership;
  return typeof membership === 'string' ? membership : undefined;
}

export function levelOf(userId: string, { levels, create, rules }: AuthContext): number {
  return powerLevelOf(userId, levels, create, rules);
}
