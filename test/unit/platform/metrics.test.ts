import { expect, test } from 'vitest';
import { createMetrics } from '../../../src/platform/metrics.ts';

test('what is counted is shown under its name and labels, and two sets do not mix', async () => {
  const metrics = createMetrics();
  const other = createMetrics();
  metrics.logAppended.inc({ feed: 'resident' }, 3);
  metrics.storeUp.set(1);
  metrics.syncWake.observe(0.02);
  const { text, contentType } = await metrics.exposition();
  expect(contentType).toMatch(/^text\/plain/);
  expect(text).toContain('peek_proxy_log_appended_total{feed="resident"} 3');
  expect(text).toContain('peek_proxy_store_up 1');
  expect(text).toContain('peek_proxy_sync_wake_seconds_bucket{le="0.025"} 1');
  expect((await other.exposition()).text).not.toContain('{feed="resident"} 3');
});

test.each([
  'failovers_total{outcome="moved"} 0',
  'failovers_total{outcome="nobody"} 0',
  'events_dropped_total{reason="acl"} 0',
  'gaps_total{outcome="left"} 0',
  'key_fetches_total{source="direct",outcome="failed"} 0',
  'forks_total 0',
])('a counter is there before its first occurrence: %s', async (line) => {
  expect((await createMetrics().exposition()).text).toContain(`peek_proxy_${line}\n`);
});

test('metrics of the process are there when asked for', async () => {
  const { text } = await createMetrics({ processMetrics: true }).exposition();
  expect(text).toContain('process_resident_memory_bytes');
});
