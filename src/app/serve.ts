import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { Server } from 'node:http';
import http from 'node:http';
import type { Config } from '../config/config.ts';
import type { ListenAddress } from '../config/kinds.ts';
import { createListener } from '../forward/listener.ts';
import { type Clock, systemClock } from '../platform/clock.ts';
import { createLogger } from '../platform/log.ts';
import { systemRandom } from '../platform/random.ts';
import { openStore } from '../store/open-store.ts';
import { checkFiles } from './check-files.ts';
import { createContext } from './context.ts';
import { logForgottenRejections } from './forgotten-rejections.ts';
import { readHealth } from './health.ts';
import { createOpsApp } from './ops-server.ts';
import { scheduleSweeps } from './schedule.ts';
import { about } from './start-error.ts';
import { version } from './version.ts';
import { beginWork } from './work.ts';

/** Requests that are still being answered when the process is told to end get this long. */
const DRAIN_MS = 3_000;
/** How long a homeserver that does not answer keeps the pass-through closed at a start; one that is down does not. */
const FIRST_LOOK_MS = 2_000;

/** Runs the proxy until SIGTERM or SIGINT. Resolves with the exit code. */
export async function serve(config: Config): Promise<number> {
  const logger = createLogger(config.logLevel);
  logForgottenRejections(process, logger);
  const clock = systemClock;
  const ending = endSignal();
  checkFiles(config);
  const store = await about(config.redisUrl === null ? 'PEEK_DATA_DIR' : 'PEEK_REDIS_URL', () =>
    openStore({
      redisUrl: config.redisUrl?.reveal() ?? null,
      dataDir: config.dataDir,
      clock,
      logger,
    }),
  );
  const context = createContext(config, { store, clock, random: systemRandom, logger });
  const { watch, peekingSwitch, held } = context;
  const startedAt = clock.now();
  const health = () =>
    readHealth({
      ...context,
      readerReady: () => context.homeserver.readerReady(),
      report: () => watch.fresh(),
      clock,
      version,
      startedAt,
    });

  let listening = false;
  const ops = http.createServer(
    createOpsApp({ health, ready: () => listening && watch.heard, metrics: context.metrics }),
  );
  await about('PEEK_OPS_LISTEN', () => listen(ops, config.opsListen));
  const work = beginWork(context, clock, logger);
  // A sync or a transaction that came before the peeks are known would be the homeserver's alone.
  await soonest(clock, FIRST_LOOK_MS, watch.firstLook);

  const servers = [createListener(context.handle)];
  await about('PEEK_LISTEN', () => listen(servers[0] as Server, config.listen));
  if (config.tls !== null) {
    const tls = { cert: readFileSync(config.tls.certPath), key: readFileSync(config.tls.keyPath) };
    const server = createListener(context.handle, { tls });
    servers.push(server);
    const address = config.tls.listen;
    await about('PEEK_TLS_LISTEN', () => listen(server, address));
  }
  listening = true;
  work.opened();
  const stopSweeps = scheduleSweeps(context.sweeps, logger);
  logger.info({ version, listen: config.listen, store: store.kind }, 'listening');

  const signal = await ending;
  const worked = work.stop();
  logger.info({ signal }, 'ending: held polls are answered');
  peekingSwitch.end();
  const closed = servers.map((server) => drained(server));
  held.release();
  stopSweeps();
  ops.close();
  ops.closeAllConnections();
  await soonest(clock, DRAIN_MS, Promise.all(closed));
  for (const server of servers) server.closeAllConnections();
  await context.close();
  await worked;
  await store.close();
  logger.info('ended');
  return 0;
}

/** Resolves with `work`, or after `ms`; the timer does not outlive it. */
async function soonest(clock: Clock, ms: number, work: Promise<unknown>): Promise<void> {
  const over = new AbortController();
  await Promise.race([work, clock.sleep(ms, over.signal)]);
  over.abort();
}

async function listen(server: Server, address: ListenAddress): Promise<void> {
  server.listen(address.port, address.host);
  await once(server, 'listening');
}

async function drained(server: Server): Promise<void> {
  const closed = once(server, 'close');
  server.close();
  server.closeIdleConnections();
  await closed;
}

function endSignal(): Promise<string> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve(signal));
  });
}
