/**
 * The names of all keys. What stands between braces chooses the hash slot in a cluster: all keys of a room, of a
 * device or of a server share one. Remote strings are percent-encoded, so that no brace of theirs counts.
 */
const PREFIX = 'mpp:';

export const SCHEMA_KEY = `${PREFIX}schema`;
export const CHECKS_KEY = `${PREFIX}checks`;
export const NOTICES_CHANNEL = `${PREFIX}notices`;

/** Percent-encoded; a lone surrogate, which no identifier may have, becomes U+FFFD. */
export function encode(remote: string): string {
  return encodeURIComponent(remote.toWellFormed());
}

export function roomKeys(roomId: string) {
  const room = `${PREFIX}{room/${encode(roomId)}}`;
  return {
    log: `${room}:log`,
    entries: `${room}:entries`,
    ids: `${room}:ids`,
    state: `${room}:state`,
    stateEvents: `${room}:state-events`,
    auth: `${room}:auth`,
    /** A replica that is being written, and will take the place of the one that is read. */
    staged: (name: string) => [
      `${room}:staged/${name}:state`,
      `${room}:staged/${name}:state-events`,
      `${room}:staged/${name}:auth`,
    ],
    outbound: `${room}:outbound`,
    /** Index: devices with a live peek on the room. */
    readers: `${room}:readers`,
    /** Index: servers that peek into the room. */
    peekers: `${room}:peekers`,
  };
}

export function deviceKeys(userId: string, deviceId: string) {
  const device = `${PREFIX}{device/${encode(userId)}/${encode(deviceId)}}`;
  return { peeks: `${device}:peeks`, live: `${device}:live` };
}

export function serverKeys(server: string) {
  const name = `${PREFIX}{server/${encode(server)}}`;
  return {
    peeks: `${name}:peeks`,
    rooms: `${name}:rooms`,
    cursors: `${name}:cursors`,
    expired: `${name}:expired`,
  };
}

export function leaseKey(name: string): string {
  return `${PREFIX}lease/${encode(name)}`;
}

export function indexKey(name: string): string {
  return `${PREFIX}${name}`;
}

/** Written to see whether it can be; gone a moment later. */
export function probeKey(n: number): string {
  return `${PREFIX}probe/${n}`;
}
