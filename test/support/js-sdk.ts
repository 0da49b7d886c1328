import { createClient, type MatrixEvent, type Room, type MatrixClient as SdkClient } from 'matrix-js-sdk';
import type { BaseLogger, Logger } from 'matrix-js-sdk/lib/logger.js';
import type { MatrixClient } from './client.ts';

/** A client of matrix-js-sdk as npm has it, and the errors that it logged. */
export interface RunningSdk {
  readonly client: SdkClient;
  readonly errors: readonly string[];
  stop(): void;
}

/** Starts the SDK for this device, with its own fetch and its own `/sync`, as an app does. */
export async function startSdk(account: MatrixClient, guest = false): Promise<RunningSdk> {
  const errors: string[] = [];
  const client = createClient({
    baseUrl: account.url,
    userId: account.userId,
    deviceId: account.deviceId,
    accessToken: account.token,
    timelineSupport: true,
    logger: errorsOnly((line) => errors.push(line)),
  });
  client.setGuest(guest);
  await client.startClient({ initialSyncLimit: 20, lazyLoadMembers: true });
  return {
    client,
    errors,
    stop() {
      client.stopPeeking();
      client.stopClient();
    },
  };
}

/** The IDs of what the room's timeline shows, oldest first. */
export function shownIds(room: Room): string[] {
  return room.timeline.map((event) => event.getId() ?? '');
}

/** One line for each message that is shown: who said it, by the name that the SDK shows, and what. */
export function shownMessages(room: Room): string[] {
  return room.timeline.filter((event) => event.getType() === 'm.room.message').map(spoken);
}

function spoken(event: MatrixEvent): string {
  return `${event.sender?.name ?? event.getSender()}: ${event.getContent().body}`;
}

function errorsOnly(tell: (line: string) => void): Logger {
  const silent = () => {};
  const error = (...parts: unknown[]) => tell(parts.map(String).join(' '));
  const base: BaseLogger = { trace: silent, debug: silent, info: silent, warn: silent, error };
  const logger: Logger = { ...base, getChild: () => logger };
  return logger;
}
