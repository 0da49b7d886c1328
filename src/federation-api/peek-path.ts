export interface PeekPath {
  readonly roomId: string;
  /** null in the path of a snapshot. */
  readonly peekId: string | null;
  readonly renew: boolean;
  /** `ver`: the room versions that the asking server knows; without any, `1`. */
  readonly versions: readonly string[];
}

const PREFIX = '/_matrix/federation/v1/peek/';
const MOST_VERSIONS = 100;

/**
 * Takes `/peek/{roomId}[/{peekId}[/renew]]` apart. Segments are percent-decoded once and not normalised; null
 * when it is another path, or its percent-encoding is broken: the homeserver says what it thinks of that.
 */
export function parsePeekPath(rawTarget: string): PeekPath | null {
  const question = rawTarget.indexOf('?');
  const path = question < 0 ? rawTarget : rawTarget.slice(0, question);
  if (!path.startsWith(PREFIX)) return null;
  const [room, peek, verb, ...rest] = path.slice(PREFIX.length).split('/');
  if (!room || peek === '' || rest.length > 0 || (verb !== undefined && verb !== 'renew')) return null;
  const roomId = decode(room);
  const peekId = peek === undefined ? undefined : decode(peek);
  if (roomId === null || peekId === null) return null;
  const versions = new URLSearchParams(question < 0 ? '' : rawTarget.slice(question)).getAll('ver');
  return {
    roomId,
    peekId: peekId ?? null,
    renew: verb === 'renew',
    versions: versions.length === 0 ? ['1'] : versions.slice(0, MOST_VERSIONS),
  };
}

/** null where the percent-encoding is broken. */
function decode(segment: string): string | null {
  try {
    return decodeURIComponent(segment);
  } catch {
    return null;
  }
}
