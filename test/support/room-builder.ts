import { createHash } from 'node:crypto';
import { encodeBase64 } from '../../src/matrix/base64.ts';
import { eventIdOf } from '../../src/matrix/event-id.ts';
import { contentHash } from '../../src/matrix/hashes.ts';
import type { Json, JsonObject } from '../../src/matrix/json.ts';
import type { Pdu } from '../../src/matrix/pdu.ts';
import { redact } from '../../src/matrix/redaction.ts';
import { type RoomVersionRules, roomVersion } from '../../src/matrix/room-versions.ts';
import { signJson } from '../../src/matrix/signed-json.ts';
import { type SigningKey, signingKeyFromSeed } from '../../src/matrix/signing-key.ts';
import type { KeyRing } from '../../src/remote-servers/remote-servers.ts';

/** A signed event and its ID. */
export interface BuiltEvent {
  readonly eventId: string;
  readonly pdu: Pdu;
}

export interface EventFields {
  readonly type: string;
  readonly content: JsonObject;
  readonly sender?: string;
  readonly stateKey?: string;
  /** Default: the newest event of the room. */
  readonly prev?: readonly string[];
  readonly depth?: number;
  /** Further members, in the event before it is hashed. */
  readonly more?: JsonObject;
}

const keys = new Map<string, SigningKey>();

/** The signing key of a test's server: its seed is the hash of its name. */
export function keyOf(server: string): SigningKey {
  const known = keys.get(server);
  if (known !== undefined) return known;
  const key = signingKeyFromSeed('ed25519:test', createHash('sha256').update(server).digest());
  keys.set(server, key);
  return key;
}

/** Knows the keys of every server of a test, except those it is told not to. */
export class TestKeyRing implements KeyRing {
  readonly unknown = new Set<string>();
  asked = 0;

  async publicKey(server: string, keyId: string): Promise<Uint8Array | null> {
    this.asked++;
    return this.known(server, keyId);
  }

  known(server: string, keyId: string): Uint8Array | null {
    const key = keyOf(server);
    return this.unknown.has(server) || keyId !== key.keyId ? null : key.publicKey;
  }
}

/** Builds a public, world-readable room event by event, as an honest server would: hashed, signed, in a line. */
export class RoomBuilder {
  readonly roomId: string;
  readonly version: string;
  readonly rules: RoomVersionRules;
  readonly creator: string;
  readonly events: BuiltEvent[] = [];
  readonly #state = new Map<string, BuiltEvent>();
  readonly #create: BuiltEvent;
  #clock = 1_790_000_000_000;

  /** `create`: more of what the create event says. */
  constructor(version = '10', server = 'there.test', name = 'room', create: JsonObject = {}) {
    this.version = version;
    this.rules = roomVersion(version) as RoomVersionRules;
    this.creator = `@creator:${server}`;
    const named = `!${name}:${server}`;
    const creator = this.rules.auth.senderIsCreator ? {} : { creator: this.creator };
    const fields = {
      type: 'm.room.create',
      stateKey: '',
      content: { room_version: version, 'test.name': name, ...creator, ...create },
      more: this.rules.hashRoomIds ? {} : { room_id: named },
    };
    this.roomId = named;
    this.#create = this.#sign(fields, null);
    if (this.rules.hashRoomIds) this.roomId = `!${this.#create.eventId.slice(1)}`;
    this.#note(this.#create);
    this.member(this.creator, 'join');
    const users = this.rules.auth.creatorsOutrank ? {} : { [this.creator]: 100 };
    this.state('m.room.power_levels', '', { users, events_default: 0, state_default: 50 });
    this.state('m.room.join_rules', '', { join_rule: 'public' });
    this.state('m.room.history_visibility', '', { history_visibility: 'world_readable' });
  }

  /** A state event, current from now on. */
  state(type: string, stateKey: string, content: JsonObject, sender?: string): BuiltEvent {
    return this.add({ type, stateKey, content, ...(sender === undefined ? {} : { sender }) });
  }

  member(userId: string, membership: string, content: JsonObject = {}): BuiltEvent {
    return this.state('m.room.member', userId, { membership, ...content }, userId);
  }

  message(body: string, sender?: string): BuiltEvent {
    const content = { msgtype: 'm.text', body };
    return this.add({ type: 'm.room.message', content, ...(sender === undefined ? {} : { sender }) });
  }

  messages(count: number, prefix = 'message'): BuiltEvent[] {
    return Array.from({ length: count }, (_, i) => this.message(`${prefix} ${i}`));
  }

  redaction(target: string, sender?: string): BuiltEvent {
    const inContent = this.rules.redactsPlace === 'content';
    return this.add({
      type: 'm.room.redaction',
      content: inContent ? { redacts: target } : {},
      ...(inContent ? {} : { more: { redacts: target } }),
      ...(sender === undefined ? {} : { sender }),
    });
  }

  /** The event from now on as a redaction left it, as servers give it then. */
  prune(eventId: string): void {
    const at = this.events.findIndex((event) => event.eventId === eventId);
    const event = this.events[at];
    if (event === undefined) throw new Error(`${eventId} is not in ${this.roomId}`);
    this.events[at] = { eventId, pdu: redact(event.pdu, this.rules) };
  }

  /** Adds an event to the room's line. */
  add(fields: EventFields): BuiltEvent {
    const event = this.make(fields);
    this.#note(event);
    return event;
  }

  /** An event like any other that the room has not (yet). */
  make(fields: EventFields): BuiltEvent {
    return this.#sign({ ...fields, more: { room_id: this.roomId, ...fields.more } }, this.latest);
  }

  get latest(): BuiltEvent {
    return this.events.at(-1) ?? this.#create;
  }

  get currentState(): BuiltEvent[] {
    return [...this.#state.values()];
  }

  /** Every event that authorizes others: at least the auth chain of the current state. */
  get authChain(): BuiltEvent[] {
    return this.events.filter(({ pdu }) => isAuthEvent(pdu));
  }

  hasMemberOf(server: string): boolean {
    return this.currentState.some(
      ({ pdu }) =>
        pdu.type === 'm.room.member' &&
        String(pdu.state_key).endsWith(`:${server}`) &&
        pdu.content.membership === 'join',
    );
  }

  stateEvent(type: string, stateKey = ''): BuiltEvent {
    const event = this.#state.get(`${type}\u0000${stateKey}`);
    if (event === undefined) throw new Error(`${type} is not set in ${this.roomId}`);
    return event;
  }

  /** The answer to `PUT /peek`: the union of what servers send. */
  peekAnswer(recent = 20): JsonObject {
    return {
      peek_id: 'theirs',
      room_version: this.version,
      renewal_interval: 3_600_000,
      state: this.currentState.map(({ pdu }) => pdu),
      auth_chain: this.authChain.map(({ pdu }) => pdu),
      latest_event: this.latest.pdu,
      messages: this.events.slice(-recent).map(({ pdu }) => pdu),
    };
  }

  #note(event: BuiltEvent): void {
    this.events.push(event);
    if (typeof event.pdu.state_key === 'string') {
      this.#state.set(`${event.pdu.type}\u0000${event.pdu.state_key}`, event);
    }
  }

  #sign(fields: EventFields, after: BuiltEvent | null): BuiltEvent {
    const sender = fields.sender ?? this.creator;
    this.#clock += 1000;
    const bare: JsonObject = {
      type: fields.type,
      sender,
      content: fields.content,
      depth: fields.depth ?? (after === null ? 1 : Number(after.pdu.depth) + 1),
      origin_server_ts: this.#clock,
      prev_events: this.#references(fields.prev ?? (after === null ? [] : [after.eventId])),
      auth_events: this.#references(this.#authEvents(fields, sender)),
      ...(this.rules.eventIds === 'named' ? { event_id: `$${this.#clock}:${serverOf(sender)}` } : {}),
      ...(fields.stateKey === undefined ? {} : { state_key: fields.stateKey }),
      ...fields.more,
    };
    const pdu = signedEvent(bare, this.rules, serverOf(sender));
    return { eventId: eventIdOf(pdu, this.rules), pdu };
  }

  /** Event IDs, in versions 1 and 2 paired with hashes (which nobody looks at). */
  #references(eventIds: readonly string[]): Json[] {
    return eventIds.map((id) => (this.rules.eventIds === 'named' ? [id, { sha256: '' }] : id));
  }

  #authEvents(fields: EventFields, sender: string): string[] {
    if (fields.type === 'm.room.create') return [];
    const { membership } = fields.content;
    const slots = [
      ...(this.rules.auth.createImplied ? [] : ['m.room.create\u0000']),
      'm.room.power_levels\u0000',
      `m.room.member\u0000${sender}`,
      ...(fields.type === 'm.room.member' ? [`m.room.member\u0000${fields.stateKey}`] : []),
      ...(fields.type === 'm.room.member' && ['join', 'invite', 'knock'].includes(String(membership))
        ? ['m.room.join_rules\u0000']
        : []),
    ];
    const events = slots.map((slot) => this.#state.get(slot)?.eventId).filter((id) => id !== undefined);
    return [...new Set(events)];
  }
}

/** Hashes and signs an event as `server`. */
export function signedEvent(event: JsonObject, rules: RoomVersionRules, server: string): Pdu {
  const hashed = { ...event, hashes: { sha256: encodeBase64(contentHash(event)) } };
  const { signatures } = signJson(redact(hashed, rules), server, keyOf(server));
  return { ...hashed, signatures: signatures ?? {} } as unknown as Pdu;
}

function serverOf(userId: string): string {
  return userId.slice(userId.indexOf(':') + 1);
}

function isAuthEvent(pdu: Pdu): boolean {
  return ['m.room.create', 'm.room.member', 'm.room.power_levels', 'm.room.join_rules'].includes(pdu.type);
}
