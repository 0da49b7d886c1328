import { createClient, type MatrixClient } from 'matrix-js-sdk';
import { PollWatch } from './poll-watch.ts';

/** What the form says; without a user it is a guest who looks in. */
export interface Visitor {
  readonly homeserver: string;
  readonly user: string;
  readonly password: string;
}

export interface Session {
  readonly client: MatrixClient;
  readonly polls: PollWatch;
  /** Ends the session at the homeserver; none for a guest, who could not come back. Rejects with a refusal. */
  readonly signOut?: () => Promise<void>;
}

/** Signs in. Rejects with the homeserver's refusal. A session that was made by password ends with the page. */
export async function startSession({ homeserver, user, password }: Visitor): Promise<Session> {
  const baseUrl = homeserver.replace(/\/+$/, '');
  const visitor = createClient({ baseUrl });
  const isGuest = user === '';
  const account = isGuest
    ? await visitor.registerGuest({ body: {} })
    : await visitor.loginRequest({
        type: 'm.login.password',
        identifier: { type: 'm.id.user', user },
        password,
        initial_device_display_name: 'Room preview',
      });
  const { access_token: accessToken, user_id: userId, device_id: deviceId } = account;
  if (accessToken === undefined || userId === undefined)
    throw new Error('The homeserver gave no access token');
  const polls = new PollWatch((...request) => fetch(...request));
  const client = createClient({
    baseUrl,
    accessToken,
    userId,
    fetchFn: polls.fetch,
    ...(deviceId !== undefined && { deviceId }),
  });
  client.setGuest(isGuest);
  return { client, polls, ...(!isGuest && { signOut: endingWithPage(client, baseUrl, accessToken) }) };
}

/** Sees to it that the session does not outlive the page, and gives what ends it before. */
function endingWithPage(client: MatrixClient, baseUrl: string, accessToken: string): () => Promise<void> {
  const logOut = () =>
    fetch(`${baseUrl}/_matrix/client/v3/logout`, {
      method: 'POST',
      headers: { authorization: `Bearer ${accessToken}` },
      keepalive: true,
    });
  const leave = () => {
    logOut().catch(() => {});
    // A page that is gone back to comes as it was left, with a token that is good no longer.
    addEventListener('pageshow', () => location.reload(), { once: true });
  };
  addEventListener('pagehide', leave);
  return async () => {
    const { ok, status } = await logOut();
    if (!ok && status !== 401) throw new Error(`The homeserver answers ${status} to signing out`);
    removeEventListener('pagehide', leave);
    client.stopClient();
  };
}

/** A room and the servers to join it through. */
export interface FoundRoom {
  readonly roomId: string;
  readonly viaServers: readonly string[];
}

/** By alias, or by ID with the `via` that the page's address has, which a link to a room brings along. */
export async function findRoom(
  client: MatrixClient,
  room: string,
  via: readonly string[],
): Promise<FoundRoom> {
  if (!room.startsWith('#')) {
    // The summary's request names the servers: that is all there is to find a room by its ID with.
    if (via.length > 0) await client.getRoomSummary(room, [...via]).catch(() => undefined);
    return { roomId: room, viaServers: via };
  }
  const { room_id: roomId, servers } = await client.getRoomIdForAlias(room);
  return { roomId, viaServers: via.length > 0 ? via : servers };
}
