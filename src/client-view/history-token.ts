/** Upper case, which no homeserver's token begins with. */
const MARK = 'PEEK-';

/**
 * A place in the history of a remotely peeked room, for `prev_batch`, `start`, `end`, `from` and `to`: just after
 * the log entry at `position`. Opaque to clients.
 */
export function remoteHistoryToken(position: number): string {
  return `${MARK}${position}`;
}

/** The position of a token of `remoteHistoryToken`; null for any other token. */
export function parseRemoteHistoryToken(token: string): number | null {
  const digits = token.startsWith(MARK) ? token.slice(MARK.length) : '';
  if (!/^(0|[1-9][0-9]{0,15})$/.test(digits)) return null;
  const position = Number(digits);
  return Number.isSafeInteger(position) ? position : null;
}
