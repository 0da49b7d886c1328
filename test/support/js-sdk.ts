import {
  createClient,
  Direction,
  type MatrixEvent,
  type Room,
  type MatrixClient as SdkClient,
  TimelineWindow,
} from 'matrix-js-sdk';
import type { BaseLogger, Logger } from 'matrix-js-sdk/lib/logger.js';
import type { MatrixClient } from './client.ts';

const MOST_PAGES = 20;

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

/** The IDs of these events. */
export function sdkIds(events: readonly MatrixEvent[]): string[] {
  return events.map((event) => event.getId() ?? '');
}

/** One line for each message among them: who said it, by the name that the SDK shows, and what. */
export function messagesIn(events: readonly MatrixEvent[]): string[] {
  return events.filter((event) => event.getType() === 'm.room.message').map(spoken);
}

/** What an app has in its window after it was scrolled up so many pages of 30; without a number, to the top. */
export async function scrollUp(
  { client }: RunningSdk,
  room: Room,
  pages = MOST_PAGES,
): Promise<MatrixEvent[]> {
  const window = new TimelineWindow(client, room.getUnfilteredTimelineSet(), { windowLimit: 1_000 });
  await window.load(undefined, 30);
  for (let page = 0; window.canPaginate(Direction.Backward); page++) {
    if (page === pages) break;
    if (page === MOST_PAGES) throw new Error(`${room.roomId} has no end`);
    await window.paginate(Direction.Backward, 30);
  }
  return window.getEvents();
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
