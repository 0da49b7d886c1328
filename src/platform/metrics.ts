import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

/**
 * What the proxy counts. Labels take few values, all of them ours: never a room, user, server or path.
 * Every name starts with `peek_proxy_`.
 */
export type Metrics = ReturnType<typeof createMetrics>;

/** `processMetrics`: memory, descriptors, event loop and so on of this process too. */
export function createMetrics(options: { processMetrics: boolean } = { processMetrics: false }) {
  const registry = new Registry();
  const registers = [registry];
  if (options.processMetrics) collectDefaultMetrics({ register: registry });

  const gauge = (name: string, help: string) => new Gauge({ name: `peek_proxy_${name}`, help, registers });
  /** `labels`: name → its values. Each starts at 0: what has not happened yet is there to be alerted on. */
  const counter = <L extends string = never>(
    name: string,
    help: string,
    labels: Record<L, readonly string[]> = {} as Record<L, readonly string[]>,
  ) => {
    const labelNames = Object.keys(labels) as L[];
    const made = new Counter<L>({ name: `peek_proxy_${name}`, help, labelNames, registers });
    for (const values of combinations(labels)) made.inc(values, 0);
    return made;
  };
  const histogram = (name: string, help: string, buckets: number[]) =>
    new Histogram({ name: `peek_proxy_${name}`, help, buckets, registers });

  const flushes: (() => void)[] = [];

  return {
    registry,
    /** A counter for paths that are hot: it counts in a variable, and into the registry when that is read. */
    hot<L extends string>(into: Counter<L>, labels: Record<L, string>): { inc(): void } {
      let pending = 0;
      flushes.push(() => {
        into.inc(labels, pending);
        pending = 0;
      });
      return {
        inc() {
          pending++;
        },
      };
    },
    /** The text of `/metrics` and its content type. */
    async exposition(): Promise<{ contentType: string; text: string }> {
      for (const flush of flushes) flush();
      return { contentType: registry.contentType, text: await registry.metrics() };
    },

    devicePeeks: gauge('device_peeks', 'Peeks of devices on rooms'),
    dormantPeeks: gauge('device_peeks_dormant', 'Of these, peeks of devices that have not synced for long'),
    livePreviews: gauge('live_previews', 'Previews of clients that know no peeks'),
    inboundPeeks: gauge('inbound_peeks', 'Peeks of other servers into our rooms'),
    outboundPeeks: gauge('outbound_peeks', 'Our peeks into rooms of other servers'),
    outboundFailing: gauge(
      'outbound_failing',
      'Rooms of others whose servers do not answer us, or do not let us, just now',
    ),
    storeUp: gauge('store_up', '1 while the store answers'),
    homeserverUp: gauge('homeserver_up', '1 while the homeserver answers with the name and key we expect'),
    feedsRunning: new Gauge({
      name: 'peek_proxy_feeds_running',
      help: 'Rooms that are followed, by kind of feed',
      labelNames: ['feed'] as const,
      registers,
    }),

    /** feed: `resident`, `remote`. */
    logAppended: counter('log_appended_total', 'Events that got a place in a room log', {
      feed: ['resident', 'remote'],
    }),
    /** reason: `shape`, `room`, `signature`, `auth` (its own auth events), `state` (the current state), `acl`. */
    eventsDropped: counter('events_dropped_total', 'Received events that were not admitted', {
      reason: ['shape', 'room', 'signature', 'auth', 'state', 'acl'],
    }),
    forks: counter('forks_total', 'Times the graph of a remote room stopped being a line'),
    /** outcome: `held`, then `taken` or `dropped`. */
    heldEvents: counter(
      'held_events_total',
      'Authorised events that the current state denied, until it was compared with the peeked server',
      { outcome: ['held', 'taken', 'dropped'] },
    ),
    stateCorrections: counter(
      'state_corrections_total',
      'Keys of the state of remote rooms that the peeked server said to be others than we had',
    ),
    gaps: counter('gaps_total', 'Gaps in a remote room: filled, or left and shown as limited', {
      outcome: ['filled', 'left'],
    }),
    /** outcome: `fed`, `closed` (it may be peeked no longer), `failed` (it is tried again). */
    wakes: counter('wakes_total', 'Rooms that nobody awake had read for a while, and somebody reads again', {
      outcome: ['fed', 'closed', 'failed'],
    }),
    /** outcome: `moved` (to another server), `nobody` (none lets us just now; it is tried again). */
    failovers: counter('failovers_total', 'Peeked rooms whose server was lost', {
      outcome: ['moved', 'nobody'],
    }),
    /** outcome: `same`, `differing`. Only with two servers for each room. */
    stateComparisons: counter('state_comparisons_total', 'States of a room compared between two servers', {
      outcome: ['same', 'differing'],
    }),
    stateDifferences: counter('state_differences_total', 'State events in which two servers differed'),
    /** outcome: `delivered`, `failed`, `refused`. */
    sendTransactions: counter('send_transactions_total', 'Transactions to peeking servers', {
      outcome: ['delivered', 'failed', 'refused'],
    }),
    /** Of servers that we peek through. outcome: `answered` (by us), `forwarded`, `unread`, `refused`. */
    receivedTransactions: counter('received_transactions_total', 'Transactions of other servers', {
      outcome: ['answered', 'forwarded', 'unread', 'refused'],
    }),
    /** kind: `plain` (bytes streamed through), `peeking`. */
    syncRequests: counter('sync_requests_total', 'Requests to /sync', { kind: ['plain', 'peeking'] }),
    /** outcome: `shown`, `refused`, `slow`. Rooms of which it is known that they cannot be had do not count. */
    /** outcome: `answered` (by us), `refused` (by us), `homeserver` (its own answer went out). */
    roomReads: counter('room_reads_total', 'Reads of rooms of others that may be for us to answer', {
      outcome: ['answered', 'refused', 'homeserver'],
    }),
    previews: counter('previews_total', 'Initial syncs of rooms that the homeserver is not in', {
      outcome: ['shown', 'refused', 'slow'],
    }),
    /** outcome: `ok`, `refused`, `unreachable`, `backing_off`. */
    remoteRequests: counter('remote_requests_total', 'Signed requests to other servers', {
      outcome: ['ok', 'refused', 'unreachable', 'backing_off'],
    }),
    /** outcome: `ok`, `failed`. */
    keyFetches: counter('key_fetches_total', 'Look-ups of signing keys of other servers', {
      source: ['notary', 'direct'],
      outcome: ['ok', 'failed'],
    }),

    syncWake: histogram(
      'sync_wake_seconds',
      'From the word that a peeked room has news to the answer of a waiting /sync',
      [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5],
    ),
  };
}

/** Every way of giving each label one of its values. */
function combinations<L extends string>(labels: Record<L, readonly string[]>): Record<L, string>[] {
  const entries = Object.entries<readonly string[]>(labels);
  const none = [{} as Record<L, string>];
  return entries.reduce(
    (made, [label, values]) => made.flatMap((one) => values.map((value) => ({ ...one, [label]: value }))),
    none,
  );
}
