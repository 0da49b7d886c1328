import type { Site } from '../support/federation.ts';
import { send } from '../support/http.ts';

/** The sum over all series of a metric whose line starts so: `sync_requests_total{kind="peeking"`. */
export async function metric(site: Pick<Site, 'proxy'>, start: string): Promise<number> {
  const { text } = await send(site.proxy.opsUrl, 'GET', '/metrics');
  return text
    .split('\n')
    .filter((line) => line.startsWith(`peek_proxy_${start}`))
    .reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}

/** How many peeks the proxy says that it has. */
export async function peekCounts(
  site: Pick<Site, 'proxy'>,
): Promise<{ device: number; inbound: number; outbound: number }> {
  const { peeks } = await site.proxy.health();
  return peeks as { device: number; inbound: number; outbound: number };
}
