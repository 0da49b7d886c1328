import {
  ClientEvent,
  createClient,
  Filter,
  type MatrixEvent,
  type MatrixClient as SdkClient,
} from 'matrix-js-sdk';
import { type BaseLogger, type Logger, logger as loudLogger } from 'matrix-js-sdk/lib/logger.js';
import type { MatrixClient } from './client.ts';

/** A device with end-to-end encryption: matrix-js-sdk as npm has it, with its keys in memory. */
export interface EncryptedClient {
  readonly client: SdkClient;
  /** How often it has uploaded one-time keys. */
  readonly keyUploads: number;
  stop(): void;
}

const silent = () => {};
const quiet: BaseLogger = { trace: silent, debug: silent, info: silent, warn: silent, error: silent };
const logger: Logger = { ...quiet, getChild: () => logger };
/** Rooms that are loaded talk to the SDK's own logger all the same. */
if ('setLevel' in loudLogger && typeof loudLogger.setLevel === 'function') loudLogger.setLevel('silent');
/** As many events as an outage may hold back: a gap would hide them. The SDK asks for as many later as at first. */
const LIMIT = 100;

/** Starts it, and resolves when its first `/sync` is done. `fetchSync`: how it asks for `/sync`. */
export async function startEncrypted(
  account: MatrixClient,
  fetchSync: typeof fetch = fetch,
): Promise<EncryptedClient> {
  let keyUploads = 0;
  const client = createClient({
    baseUrl: account.url,
    userId: account.userId,
    deviceId: account.deviceId,
    accessToken: account.token,
    logger,
    fetchFn: (input, init) => {
      const { pathname } = new URL(String(input));
      if (pathname.endsWith('/keys/upload')) keyUploads++;
      return pathname.endsWith('/sync') ? fetchSync(input, init) : fetch(input, init);
    },
  });
  await client.initRustCrypto({ useIndexedDB: false });
  const synced = new Promise<void>((resolve) => client.once(ClientEvent.Sync, () => resolve()));
  const filter = new Filter(account.userId);
  filter.setTimelineLimit(LIMIT);
  await client.startClient({ filter, initialSyncLimit: LIMIT, lazyLoadMembers: true, pollTimeout: 5_000 });
  await synced;
  return {
    client,
    get keyUploads() {
      return keyUploads;
    },
    stop: () => client.stopClient(),
  };
}

/** What the client can read of a room's messages, by event ID; null for what it cannot decrypt. */
export function readMessages({ client }: EncryptedClient, roomId: string): Map<string, string | null> {
  const events = client.getRoom(roomId)?.getLiveTimeline().getEvents() ?? [];
  const encrypted = events.filter((event) => event.getWireType() === 'm.room.encrypted');
  return new Map(encrypted.map((event) => [event.getId() ?? '', textOf(event)]));
}

function textOf(event: MatrixEvent): string | null {
  return event.getType() === 'm.room.message' ? String(event.getContent().body) : null;
}
