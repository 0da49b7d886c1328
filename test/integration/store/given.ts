import type { Store } from '../../../src/store/store.ts';

/** What the tests of the suite's parts are given: the store of the running test. */
export interface Given {
  readonly store: Store;
  /** Lets time pass for leases. */
  pass(ms: number): Promise<void>;
}

const QUIET_MS = 50;

/** The notices that `work` brings. What earlier work has set off may still be under way, and is waited for. */
export async function noticesOf(store: Store, work: () => Promise<unknown>): Promise<unknown[]> {
  await new Promise((done) => setTimeout(done, QUIET_MS));
  const heard: unknown[] = [];
  const stop = store.subscribe((notice) => heard.push(notice));
  await work();
  await new Promise((done) => setTimeout(done, QUIET_MS));
  stop();
  return heard;
}
