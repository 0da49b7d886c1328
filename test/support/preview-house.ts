import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';
import { Allowance } from '../../src/client-api/allowance.ts';
import { PreviewRoutes } from '../../src/client-api/preview-routes.ts';
import { TrafficHints } from '../../src/client-api/traffic-hints.ts';
import { HeldSyncs } from '../../src/client-sync/held-syncs.ts';
import { RawForwarder } from '../../src/forward/raw-forwarder.ts';
import { TrustedProxies } from '../../src/forward/trusted-proxies.ts';
import { createUpstream } from '../../src/forward/upstream.ts';
import type { JsonObject } from '../../src/matrix/json.ts';
import { InitialSync } from '../../src/previews/initial-sync.ts';
import { Previews } from '../../src/previews/previews.ts';
import { RoomEvents } from '../../src/previews/room-events.ts';
import { ShownEvents } from '../../src/previews/shown-events.ts';
import { ReadPlaces } from '../../src/room-reads/read-places.ts';
import { StateAt } from '../../src/rooms/state-at.ts';
import { WholeState } from '../../src/rooms/whole-state.ts';
import { ALICE, type HouseOptions, PEER, PeekingHouse } from './peeking-house.ts';
import type { RoomBuilder } from './room-builder.ts';

/** What the homeserver says of a room that it is not in. */
export const REFUSED = '{"errcode":"M_FORBIDDEN","error":"by the homeserver" }';
export const BOB = { userId: '@bob:here.test', deviceId: 'LAPTOP', isGuest: false };

export interface PreviewAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  readonly body: JsonObject;
}

export interface PreviewHouseOptions extends HouseOptions {
  readonly house?: PeekingHouse;
  readonly reads?: { spend(userId: string): Promise<void> };
  readonly rate?: { readonly count: number; readonly perMs: number };
}

/** Clients that know no peeks, over real sockets, between a homeserver that a test scripts and other servers. */
export class PreviewHouse {
  readonly house: PeekingHouse;
  readonly held = new HeldSyncs();
  /** The targets that the homeserver was asked for. */
  readonly asked: string[] = [];
  /** What the homeserver does; by default it refuses. */
  script: (req: IncomingMessage, res: ServerResponse) => void = refuse;
  readonly #origin: string;

  static async open(options: PreviewHouseOptions = {}): Promise<PreviewHouse> {
    const house = options.house ?? (await PeekingHouse.open(options));
    house.homeserver.identities.set('Bearer alice', ALICE).set('Bearer bob', BOB);
    house.homeserver.identities.set('Bearer tablet', { ...ALICE, deviceId: 'TABLET' });
    let preview: PreviewHouse | undefined;
    const homeserver = await listen((req, res) => {
      preview?.asked.push(req.url ?? '');
      (preview?.script ?? refuse)(req, res);
    });
    const routes = await listen((req, res) => preview?.handle(req, res));
    preview = new PreviewHouse(house, homeserver, routes, options);
    return preview;
  }

  readonly #routes: PreviewRoutes;
  readonly #hints: TrafficHints;
  readonly #forwarder: RawForwarder;

  private constructor(
    house: PeekingHouse,
    homeserver: string,
    origin: string,
    { rate = { count: 1000, perMs: 60_000 }, reads = { spend: async () => {} } }: PreviewHouseOptions,
  ) {
    this.house = house;
    this.#origin = origin;
    const upstream = createUpstream(homeserver);
    onTestFinished(() => upstream.destroy());
    const trusted = new TrustedProxies();
    this.#forwarder = new RawForwarder(upstream, trusted);
    const stateAt = new StateAt(house.store, house.homeserver, house.clock);
    const shownEvents = new ShownEvents({ ...house, stateAt });
    const initialSync = new InitialSync({
      ...house,
      stateAt,
      shownEvents,
      wholeState: new WholeState(house),
    });
    const previews = new Previews({
      ...house,
      initialSync,
      reads,
      places: new ReadPlaces(),
      openings: new Allowance(rate.count, rate.perMs),
    });
    const roomEvents = new RoomEvents({ ...house, shownEvents });
    const { held } = this;
    this.#routes = new PreviewRoutes({
      ...house,
      previews,
      roomEvents,
      forwarder: this.#forwarder,
      held,
      trusted,
    });
    this.#hints = new TrafficHints(house.learned);
  }

  handle(req: IncomingMessage, res: ServerResponse): void {
    this.#hints.see(req, res);
    if (!this.#routes.take(req, res)) void this.#forwarder.forward(req, res);
  }

  /** A room that `PEER` lets us peek, and of which that is known from traffic that passed. */
  remote(builder: RoomBuilder): RoomBuilder {
    this.house.remoteRoom(builder);
    this.house.learned.learn(builder.roomId, [PEER], 'listed', 'somebody');
    return builder;
  }

  initialSync(room: RoomBuilder, query = 'limit=20', token = 'alice'): Promise<PreviewAnswer> {
    return this.get(
      `/_matrix/client/v3/rooms/${encodeURIComponent(room.roomId)}/initialSync?${query}`,
      token,
    );
  }

  events(room: RoomBuilder, query: Record<string, string> = {}, token = 'alice', signal?: AbortSignal) {
    const asked = new URLSearchParams({ room_id: room.roomId, timeout: '0', ...query });
    return this.get(`/_matrix/client/v3/events?${asked}`, token, signal);
  }

  async get(target: string, token = 'alice', signal?: AbortSignal, method = 'GET'): Promise<PreviewAnswer> {
    const response = await fetch(`${this.#origin}${target}`, {
      method,
      headers: { authorization: `Bearer ${token}` },
      ...(signal === undefined ? {} : { signal }),
    });
    const text = await response.text();
    return { status: response.status, headers: response.headers, text, body: parsed(text) };
  }
}

/** The bodies of messages, `type=value` of other events. */
export function said(events: unknown): string[] {
  return (events as { type: string; content: Record<string, string> }[]).map(
    ({ type, content }) =>
      content.body ??
      `${type.replace('m.room.', '')}=${content.name ?? content.topic ?? content.membership ?? content.history_visibility ?? ''}`,
  );
}

/** The messages of an initial sync. */
export function messagesOf(answer: PreviewAnswer): { chunk: JsonObject[]; start: string; end: string } {
  return answer.body.messages as unknown as { chunk: JsonObject[]; start: string; end: string };
}

function refuse(_req: IncomingMessage, res: ServerResponse): void {
  res.writeHead(403, { 'content-type': 'application/json', 'x-homeserver': 'own' });
  res.end(REFUSED);
}

function parsed(text: string): JsonObject {
  try {
    return JSON.parse(text) as JsonObject;
  } catch {
    return {};
  }
}

async function listen(handle: (req: IncomingMessage, res: ServerResponse) => void): Promise<string> {
  const server = createServer(handle);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
