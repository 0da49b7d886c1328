import type { HeldSyncs } from '../client-sync/held-syncs.ts';
import { isPreview } from '../device-peeks/preview-devices.ts';
import type { ResidentFeeds } from '../feeds/resident/resident-feeds.ts';
import type { HomeserverReport } from '../homeserver/probe.ts';
import type { OutboundPeeks } from '../outbound-peeks/outbound-peeks.ts';
import type { PeekedRoom } from '../outbound-peeks/peeked-rooms.ts';
import type { Clock } from '../platform/clock.ts';
import type { Metrics } from '../platform/metrics.ts';
import type { Store } from '../store/store.ts';
import type { PeekingSwitch } from './peeking-switch.ts';

export interface HealthDeps {
  readonly store: Store;
  readonly residentFeeds: ResidentFeeds;
  readonly outbound: OutboundPeeks;
  readonly held: HeldSyncs;
  readonly peekingSwitch: PeekingSwitch;
  readonly readerReady: () => boolean;
  /** What the homeserver says of itself, a few seconds old at most. */
  readonly report: () => Promise<HomeserverReport | null>;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly version: string;
  readonly startedAt: number;
}

export interface Health {
  /** `ok`; `degraded`: some peeking does not work; `red`: none does. The pass-through goes on in all three. */
  readonly status: 'ok' | 'degraded' | 'red';
  readonly version: string;
  readonly uptime_seconds: number;
  readonly homeserver: {
    readonly reachable: boolean;
    readonly version: string | null;
    /** Whether peeking is switched on; it stays so while the homeserver is away for a moment. */
    readonly peeking: boolean;
    /** Whether its own rooms can be read for peekers. */
    readonly reader: boolean;
    readonly problem?: string;
    readonly advice?: string;
  };
  /** `up`: it can be read and written. */
  readonly store: {
    readonly kind: Store['kind'];
    readonly up: boolean;
    readonly problem?: string;
    readonly advice?: string;
  };
  readonly feeds: {
    readonly resident: number;
    readonly remote: number;
    readonly troubled: readonly unknown[];
  };
  readonly peeks: {
    readonly device: number | null;
    /** Of these, those of devices that have not synced for PEEK_DORMANT_AFTER. */
    readonly dormant: number | null;
    /** Of clients that know no peeks. */
    readonly previews: number | null;
    readonly inbound: number | null;
    readonly outbound: number;
  };
  /** The servers that peek most rooms here, the one with most of them first. */
  readonly inbound_servers: readonly { readonly server: string; readonly peeks: number }[];
  /** Rooms of others and the servers that they are peeked through, those with a failing one first. */
  readonly remote_rooms: readonly PeekedRoom[];
  readonly held_syncs: number;
}

interface Counts {
  readonly peeks: Omit<Health['peeks'], 'outbound'>;
  readonly inboundServers: Health['inbound_servers'];
}

const NOT_COUNTED: Counts = {
  peeks: { device: null, previews: null, dormant: null, inbound: null },
  inboundServers: [],
};
/** Servers that are named for the peeks that they have here. */
const MOST_INBOUND_SERVERS = 10;
/** Rooms of others that are listed. */
const MOST_REMOTE_ROOMS = 100;

/** What helps a store that can be read and not be written. */
const NOT_WRITTEN: Record<Store['kind'], string> = {
  sqlite:
    'The disk of PEEK_DATA_DIR takes no writes: make room there. Peeks stand still until then; nothing has to be restarted.',
  redis:
    'Redis takes no writes (OOM: raise its maxmemory; READONLY: a replica has been given; MISCONF: its own disk is full). Peeks stand still until then; nothing has to be restarted.',
};

/** Asks everything now: the store to be read and to be written, the state of every feed, the numbers of peeks. */
export async function readHealth(deps: HealthDeps): Promise<Health> {
  const { store, residentFeeds, outbound, peekingSwitch, metrics } = deps;
  const unread = await problemOf(store.ping());
  const unwritten = unread === null ? await problemOf(store.probe()) : null;
  const storeProblem = unread ?? unwritten;
  const counts: Counts = unread === null ? await countPeeks(store) : NOT_COUNTED;
  const feeds = residentFeeds.status();
  const report = await deps.report();
  const problem = problemOfHomeserver(peekingSwitch.off, report);
  const reader = deps.readerReady();
  const degraded = !reader || feeds.troubled.length > 0;

  metrics.storeUp.set(storeProblem === null ? 1 : 0);
  metrics.homeserverUp.set(problem === null && report?.reachable === true ? 1 : 0);
  metrics.feedsRunning.set({ feed: 'resident' }, feeds.running);
  metrics.feedsRunning.set({ feed: 'remote' }, outbound.count);
  metrics.outboundPeeks.set(outbound.count);
  metrics.outboundFailing.set(outbound.failing);
  if (counts.peeks.device !== null) metrics.devicePeeks.set(counts.peeks.device);
  if (counts.peeks.previews !== null) metrics.livePreviews.set(counts.peeks.previews);
  if (counts.peeks.dormant !== null) metrics.dormantPeeks.set(counts.peeks.dormant);
  if (counts.peeks.inbound !== null) metrics.inboundPeeks.set(counts.peeks.inbound);

  return {
    status: problem !== null || storeProblem !== null ? 'red' : degraded ? 'degraded' : 'ok',
    version: deps.version,
    uptime_seconds: Math.round((deps.clock.now() - deps.startedAt) / 1000),
    homeserver: {
      reachable: report?.reachable === true,
      version: report?.version ?? null,
      peeking: peekingSwitch.on,
      reader,
      ...(problem ?? (reader ? {} : withoutReader(report))),
    },
    store: {
      kind: store.kind,
      up: storeProblem === null,
      ...(storeProblem === null ? {} : { problem: storeProblem }),
      ...(unwritten === null ? {} : { advice: NOT_WRITTEN[store.kind] }),
    },
    feeds: { resident: feeds.running, remote: outbound.count, troubled: feeds.troubled },
    peeks: { ...counts.peeks, outbound: outbound.count },
    inbound_servers: counts.inboundServers,
    remote_rooms: outbound.rooms(MOST_REMOTE_ROOMS),
    held_syncs: deps.held.count,
  };
}

/** Why the homeserver's own rooms cannot be peeked: nothing is configured, or it does not know the reader. */
function withoutReader(report: HomeserverReport | null): { problem: string; advice: string } {
  return {
    problem: report?.problem?.reason ?? 'there is no reader',
    advice:
      report?.problem?.advice ??
      "Peeking into this homeserver's own rooms is off: set PEEK_REGISTRATION_PATH (or PEEK_READER_TOKEN).",
  };
}

/** Why peeking is off, or why it cannot work just now. */
function problemOfHomeserver(
  off: PeekingSwitch['off'],
  report: HomeserverReport | null,
): { problem: string; advice: string } | null {
  const found = report?.problem;
  if (found && found.kind !== 'no-reader') return { problem: found.reason, advice: found.advice };
  return off === null ? null : { problem: off.reason, advice: off.advice };
}

async function countPeeks(store: Store): Promise<Counts> {
  try {
    const [all, byServer] = await Promise.all([store.devicePeeks.all(), store.inboundPeeks.countByServer()]);
    const live = all.filter((peek) => peek.ended === null);
    const previews = live.filter(isPreview).length;
    const dormant = live.filter((peek) => peek.dormantSince !== null).length;
    return {
      peeks: { device: live.length - previews, previews, dormant, inbound: sumOf(byServer.values()) },
      inboundServers: serversWithMost(byServer),
    };
  } catch {
    return NOT_COUNTED;
  }
}

function sumOf(counts: Iterable<number>): number {
  let sum = 0;
  for (const count of counts) sum += count;
  return sum;
}

function serversWithMost(byServer: ReadonlyMap<string, number>): Health['inbound_servers'] {
  return [...byServer]
    .filter(([, peeks]) => peeks > 0)
    .map(([server, peeks]) => ({ server, peeks }))
    .toSorted((a, b) => b.peeks - a.peeks)
    .slice(0, MOST_INBOUND_SERVERS);
}

async function problemOf(promise: Promise<void>): Promise<string | null> {
  try {
    await promise;
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
