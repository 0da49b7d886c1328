import type { Store } from '../../../src/store/store.ts';

/** What the tests of the suite's parts are given: the store of the running test. */
export interface Given {
  readonly store: Store;
  /** Lets time pass for leases. */
  pass(ms: number): Promise<void>;
}

/** The notices that `work` brings, once the store has been quiet for a moment. */
export async function noticesOf(store: Store, work: () => Promise<unknown>): Promise<unknown[]> {
  const heard: unknown[] = [];
  const stop = store.subscribe((notice) => heard.push(notice));
  await work();
  await new Promise((done) => setTimeout(done, 20));
  stop();
  return heard;
}
