import { createClient, type MatrixClient } from 'matrix-js-sdk';

/** What the form says; without a user it is a guest who looks in. */
export interface Visitor {
  readonly homeserver: string;
  readonly user: string;
  readonly password: string;
}

/** A client of the visitor that syncs. Rejects with the homeserver's refusal. */
export async function startSession({ homeserver, user, password }: Visitor): Promise<MatrixClient> {
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
  const client = createClient({
    baseUrl,
    accessToken,
    userId,
    ...(deviceId !== undefined && { deviceId }),
  });
  client.setGuest(isGuest);
  await client.startClient({ initialSyncLimit: 20, lazyLoadMembers: true });
  return client;
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
