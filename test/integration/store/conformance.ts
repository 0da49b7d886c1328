import { afterAll, beforeAll, beforeEach, describe } from 'vitest';
import type { Store } from '../../../src/store/store.ts';
import { devicePeekConformance } from './conformance-device-peeks.ts';
import { inboundPeekConformance } from './conformance-inbound-peeks.ts';
import { leaseConformance, outboundPeekConformance, storeItselfConformance } from './conformance-others.ts';
import { replicaConformance } from './conformance-replicas.ts';
import { roomLogConformance } from './conformance-room-logs.ts';
import type { Given } from './given.ts';

/** A kind of store, as the suite uses it. */
export interface StoreUnderTest {
  /** A store with nothing in it. The one before has been closed. */
  empty(): Promise<Store>;
  /** Lets time pass for leases. */
  pass(ms: number): Promise<void>;
  /** Ends what it has started. */
  end(): Promise<void>;
}

/** What every store must do, whatever it is made of. */
export function storeConformance(name: string, makeStore: () => Promise<StoreUnderTest>): void {
  describe(`${name} as a store`, () => {
    let underTest: StoreUnderTest | undefined;
    let store: Store | undefined;
    const given: Given = {
      get store() {
        if (store === undefined) throw new Error('the store is not open');
        return store;
      },
      pass: async (ms) => underTest?.pass(ms),
    };

    beforeAll(async () => {
      underTest = await makeStore();
    });
    beforeEach(async () => {
      await store?.close();
      store = await underTest?.empty();
    });
    afterAll(async () => {
      try {
        await store?.close();
      } finally {
        await underTest?.end();
      }
    });

    roomLogConformance(given);
    replicaConformance(given);
    devicePeekConformance(given);
    inboundPeekConformance(given);
    outboundPeekConformance(given);
    leaseConformance(given);
    storeItselfConformance(given);
  });
}
