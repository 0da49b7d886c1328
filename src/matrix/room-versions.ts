/**
 * What differs between room versions (specification, "Room Versions"), as data. Pure functions elsewhere ask
 * these, never the version's number.
 */
export interface RoomVersionRules {
  readonly id: string;
  /** `named`: the sender's server chose it (1, 2); `base64`: the reference hash (3); `urlsafe`: the same, URL-safe. */
  readonly eventIds: 'named' | 'base64' | 'urlsafe';
  /** Events must be canonical JSON: no floats, integers within ±(2^53−1) (6 on). */
  readonly strictJson: boolean;
  readonly stateResolution: '1' | '2' | '2.1';
  /** A key signs events only up to the end of its validity (5 on); before, it signs for ever. */
  readonly keysExpire: boolean;
  /** The room ID is the create event's hash, and the create event has no `room_id` (12 on). */
  readonly hashRoomIds: boolean;
  /** Where an `m.room.redaction` names its target: the event itself (1–10), or its content (11 on). */
  readonly redactsPlace: 'event' | 'content';
  readonly redaction: RedactionRules;
  readonly auth: AuthFlags;
}

/** What survives a redaction. */
export interface RedactionRules {
  /** `aliases` of `m.room.aliases` (1–5). */
  readonly keepsAliases: boolean;
  /** `allow` of `m.room.join_rules` (8 on). */
  readonly keepsAllow: boolean;
  /** `join_authorised_via_users_server` of `m.room.member` (9 on). */
  readonly keepsAuthorisingUser: boolean;
  /**
   * 11 on: `origin`, `membership`, `prev_state` go; the whole content of `m.room.create`, `redacts`, the
   * power level `invite` and `third_party_invite.signed` stay.
   */
  readonly revised: boolean;
}

/** How the authorization rules differ. */
export interface AuthFlags {
  /** `m.room.aliases` is allowed to whoever's server is the state key (1–5). */
  readonly aliasesByServer: boolean;
  /** `m.room.redaction` is authorised by the redact level or the event ID's domain (1, 2). */
  readonly redactionByLevel: boolean;
  /** Changes of `notifications` in power levels are checked (6 on). */
  readonly notificationLevels: boolean;
  /** Membership and join rule `knock` (7 on). */
  readonly knock: boolean;
  /** Join rule `restricted` (8 on). */
  readonly restricted: boolean;
  /** Join rule `knock_restricted` (10 on). */
  readonly knockRestricted: boolean;
  /** Power levels must be integers, not strings that look like them (10 on). */
  readonly integerPowerLevels: boolean;
  /** The creator is the create event's sender; `content.creator` is not needed (11 on). */
  readonly senderIsCreator: boolean;
  /** Creators outrank every power level and may be several (12 on). */
  readonly creatorsOutrank: boolean;
  /** The create event is never among `auth_events`: the room ID implies it (12 on). */
  readonly createImplied: boolean;
}

function rulesOf(version: number): RoomVersionRules {
  return {
    id: String(version),
    eventIds: version <= 2 ? 'named' : version === 3 ? 'base64' : 'urlsafe',
    strictJson: version >= 6,
    keysExpire: version >= 5,
    stateResolution: version === 1 ? '1' : version >= 12 ? '2.1' : '2',
    hashRoomIds: version >= 12,
    redactsPlace: version >= 11 ? 'content' : 'event',
    redaction: {
      keepsAliases: version <= 5,
      keepsAllow: version >= 8,
      keepsAuthorisingUser: version >= 9,
      revised: version >= 11,
    },
    auth: {
      aliasesByServer: version <= 5,
      redactionByLevel: version <= 2,
      notificationLevels: version >= 6,
      knock: version >= 7,
      restricted: version >= 8,
      knockRestricted: version >= 10,
      integerPowerLevels: version >= 10,
      senderIsCreator: version >= 11,
      creatorsOutrank: version >= 12,
      createImplied: version >= 12,
    },
  };
}

const VERSIONS: ReadonlyMap<string, RoomVersionRules> = new Map(
  [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12].map((version) => [String(version), rulesOf(version)]),
);

/** Room versions 1 to 12. */
export const SUPPORTED_ROOM_VERSIONS: readonly string[] = [...VERSIONS.keys()];

/** The rules of a room version; undefined for versions that are not known. */
export function roomVersion(id: string): RoomVersionRules | undefined {
  return VERSIONS.get(id);
}
