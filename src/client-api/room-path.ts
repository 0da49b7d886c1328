/** A target under `/rooms/{roomId}/`, as the client-server API has them. */
export interface RoomPath {
  readonly roomId: string;
  /** What follows the room ID, each part percent-decoded once. */
  readonly parts: readonly string[];
}

const ROOM_PATH = /^\/_matrix\/client\/(?:r0|v1|v3|unstable|api\/v1)\/rooms\/([^/]+)\/(.+)$/;

/** The room and what is asked of it; null for any other target, and for one that is not percent-encoded UTF-8. */
export function roomPathOf(url: string): RoomPath | null {
  const query = url.indexOf('?');
  const match = ROOM_PATH.exec(query === -1 ? url : url.slice(0, query));
  if (match === null) return null;
  try {
    const [, room = '', rest = ''] = match;
    return { roomId: decodeURIComponent(room), parts: rest.split('/').map(decodeURIComponent) };
  } catch {
    return null;
  }
}
