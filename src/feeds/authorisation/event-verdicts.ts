import { checkAuthEventsSelection } from '../../matrix/auth-rules/auth-events.ts';
import { type AuthState, authStateOf } from '../../matrix/auth-rules/auth-state.ts';
import { authorise } from '../../matrix/auth-rules/authorise.ts';
import { ALLOWED, denied, type Verdict } from '../../matrix/auth-rules/verdict.ts';
import { authEventIds, type Pdu } from '../../matrix/pdu.ts';
import type { RoomVersionRules } from '../../matrix/room-versions.ts';
import { takeTurns } from '../../platform/turns.ts';

export interface JudgedEvent {
  readonly eventId: string;
  readonly pdu: Pdu;
}

/** Said of an event whose auth events could not be had: it may be judged again when they can. */
export const AUTH_NOT_HAD = 'an auth event could not be had';
export const UNKNOWN_AUTH: Verdict = denied(AUTH_NOT_HAD);

/**
 * Judges events of one room by its version's authorization rules, each against its own auth events and these
 * against theirs, back to the create event. Each is judged once, however many others it authorises, and without
 * recursion: a chain may be as long as a room is old.
 */
export class EventVerdicts {
  readonly #rules: RoomVersionRules;
  readonly #events = new Map<string, Pdu>();
  readonly #verdicts = new Map<string, Verdict>();
  #create: JudgedEvent | null = null;

  constructor(rules: RoomVersionRules) {
    this.#rules = rules;
  }

  /** An event to be judged, or to judge others by. It is authentic and of the room. */
  add({ eventId, pdu }: JudgedEvent): void {
    if (this.#events.has(eventId)) return;
    this.#events.set(eventId, pdu);
    if (pdu.type === 'm.room.create' && pdu.state_key === '') this.#create ??= { eventId, pdu };
  }

  /** An event that was judged before, and allowed. */
  trust(event: JudgedEvent): void {
    this.add(event);
    this.#verdicts.set(event.eventId, ALLOWED);
  }

  /** An event that was judged before, and denied. */
  distrust(eventId: string): void {
    this.#verdicts.set(eventId, denied('it was rejected before'));
  }

  has(eventId: string): boolean {
    return this.#events.has(eventId) || this.#verdicts.has(eventId);
  }

  isJudged(eventId: string): boolean {
    return this.#verdicts.has(eventId);
  }

  get create(): Pdu | null {
    return this.#create?.pdu ?? null;
  }

  /** The auth events that are named by events which are yet to be judged, and are not here. */
  missing(): Set<string> {
    const missing = new Set<string>();
    for (const [eventId, pdu] of this.#events) {
      if (this.#verdicts.has(eventId)) continue;
      for (const id of authEventIds(pdu, this.#rules)) if (!this.has(id)) missing.add(id);
    }
    return missing;
  }

  /** The verdict on an event that was added. What it gives stays, so everything needed has to be there before. */
  async of(eventId: string, turn = takeTurns()): Promise<Verdict> {
    const known = this.#verdicts.get(eventId);
    if (known !== undefined) return known;
    const waiting = [eventId];
    const opened = new Set<string>();
    for (let id = waiting.at(-1); id !== undefined; id = waiting.at(-1)) {
      const pause = turn();
      if (pause !== undefined) await pause;
      const open = opened.has(id) ? [] : this.#unjudgedBefore(id);
      opened.add(id);
      if (open.length > 0) {
        waiting.push(...open);
        continue;
      }
      waiting.pop();
      if (!this.#verdicts.has(id)) this.#verdicts.set(id, this.#judge(id));
    }
    return this.#verdicts.get(eventId) ?? UNKNOWN_AUTH;
  }

  #unjudgedBefore(eventId: string): string[] {
    const pdu = this.#events.get(eventId);
    if (pdu === undefined || this.#verdicts.has(eventId)) return [];
    const named = [...authEventIds(pdu, this.#rules), ...this.#impliedCreate()];
    return named.filter((id) => id !== eventId && this.#events.has(id) && !this.#verdicts.has(id));
  }

  #impliedCreate(): string[] {
    return this.#rules.auth.createImplied && this.#create !== null ? [this.#create.eventId] : [];
  }

  /** Events that name each other in a circle, which only the IDs of versions 1 and 2 allow, authorise nothing. */
  #judge(eventId: string): Verdict {
    const pdu = this.#events.get(eventId);
    if (pdu === undefined) return UNKNOWN_AUTH;
    const named = authEventIds(pdu, this.#rules);
    if (named.some((id) => this.#isUnknown(id))) return UNKNOWN_AUTH;
    const find = (id: string) => {
      const event = this.#events.get(id);
      const verdict = this.#verdicts.get(id);
      if (event === undefined) return null;
      return { event, rejected: verdict?.allowed !== true };
    };
    const selection = checkAuthEventsSelection(pdu, find, this.#rules);
    if (!selection.allowed) return selection;
    const events = named.map((id) => this.#events.get(id)).filter((event) => event !== undefined);
    return authorise(pdu, eventId, this.#withCreate(authStateOf(events)), this.#rules);
  }

  #isUnknown(eventId: string): boolean {
    const verdict = this.#verdicts.get(eventId);
    return verdict === undefined ? !this.#events.has(eventId) : verdict === UNKNOWN_AUTH;
  }

  /** Where the create event is not among the auth events, the room's own is meant. */
  #withCreate(state: AuthState): AuthState {
    const create = this.#create;
    if (!this.#rules.auth.createImplied || create === null) return state;
    if (this.#verdicts.get(create.eventId)?.allowed !== true) return state;
    return (type, stateKey) =>
      type === 'm.room.create' && stateKey === '' ? create.pdu : state(type, stateKey);
  }
}
