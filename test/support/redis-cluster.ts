import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { freePort, type RedisServer, startRedis } from './redis-server.ts';

const NODES = 3;
const SLOTS = 16_384;
const FORMED_WITHIN_MS = 20_000;

export interface RedisCluster {
  readonly url: string;
  readonly nodes: readonly RedisServer[];
  /** Ends every node. */
  stop(): Promise<void>;
}

/** Starts three masters on the loopback and joins them into one cluster. Nothing is left running if that fails. */
export async function startRedisCluster(): Promise<RedisCluster> {
  const nodes: RedisServer[] = [];
  const stop = async () => {
    await Promise.all(nodes.map((node) => node.stop()));
  };
  try {
    while (nodes.length < NODES) nodes.push(await startNode());
    await form(nodes);
  } catch (error) {
    await stop();
    throw error;
  }
  const hosts = nodes.map((node) => `127.0.0.1:${node.port}`).join(',');
  return { url: `redis+cluster://${hosts}`, nodes, stop };
}

async function startNode(): Promise<RedisServer> {
  // Without its own setting the bus would be at port + 10000, which need not be free or exist.
  const busPort = await freePort();
  return startRedis({
    args: [
      ...['--cluster-enabled', 'yes', '--cluster-config-file', 'nodes.conf'],
      ...['--cluster-port', String(busPort), '--cluster-node-timeout', '2000'],
    ],
  });
}

async function form(nodes: readonly RedisServer[]): Promise<void> {
  const clients = nodes.map((node) => new Redis({ host: '127.0.0.1', port: node.port }));
  for (const client of clients) client.on('error', () => {});
  try {
    const share = Math.ceil(SLOTS / clients.length);
    for (const [index, client] of clients.entries()) {
      const last = Math.min(SLOTS, (index + 1) * share) - 1;
      await client.call('CLUSTER', 'ADDSLOTSRANGE', String(index * share), String(last));
      await client.call('CLUSTER', 'SET-CONFIG-EPOCH', String(index + 1));
    }
    const first = clients[0];
    for (const node of nodes.slice(1)) {
      const busPort = await ownBusPort(node.port);
      await first?.call('CLUSTER', 'MEET', '127.0.0.1', String(node.port), busPort);
    }
    const deadline = Date.now() + FORMED_WITHIN_MS;
    for (const client of clients) {
      while (!(await knowsAll(client))) {
        if (Date.now() > deadline) throw new Error('the Redis nodes did not form a cluster');
        await sleep(50);
      }
    }
  } finally {
    for (const client of clients) client.disconnect();
  }
}

async function ownBusPort(port: number): Promise<string> {
  const client = new Redis({ host: '127.0.0.1', port });
  client.on('error', () => {});
  try {
    const reply = await client.call('CONFIG', 'GET', 'cluster-port');
    const value = Array.isArray(reply) ? reply[1] : null;
    if (typeof value !== 'string') throw new Error('this Redis has no setting cluster-port (7.0 has)');
    return value;
  } finally {
    client.disconnect();
  }
}

async function knowsAll(client: Redis): Promise<boolean> {
  const info = String(await client.call('CLUSTER', 'INFO'));
  return info.includes('cluster_state:ok') && info.includes(`cluster_known_nodes:${NODES}`);
}
