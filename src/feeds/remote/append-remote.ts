import type { Clock } from '../../platform/clock.ts';
import type { Metrics } from '../../platform/metrics.ts';
import type { LogEntry, Store } from '../../store/store.ts';
import type { Admission } from './admission.ts';

export interface AppendOptions {
  /** Events are missing before these: every reader sees a gap there. */
  readonly gap: boolean;
  /** As in `RoomLog`. */
  readonly needsCatchUp?: boolean;
}

/**
 * Appends a batch to the log of a remote room, state into the replica, and prunes what it redacts, in one step.
 * Returns what was really appended.
 */
export async function appendRemote(
  deps: { readonly store: Store; readonly clock: Clock; readonly metrics: Metrics },
  roomId: string,
  admission: Admission,
  options: AppendOptions,
): Promise<LogEntry[]> {
  const { store, metrics } = deps;
  const { append, replaced } = admission.build();
  if (replaced.length > 0) await store.replicas.add(roomId, [], replaced);
  const appended = await store.logs.append(roomId, {
    ...append,
    afterGap: options.gap,
    ...(options.needsCatchUp === undefined ? {} : { needsCatchUp: options.needsCatchUp }),
  });
  metrics.logAppended.inc({ feed: 'remote' }, appended.length);
  metrics.forks.inc(admission.forks);
  return appended;
}
