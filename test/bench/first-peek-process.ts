import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createContext } from '../../src/app/context.ts';
import { loadConfig } from '../../src/config/config.ts';
import { createListener } from '../../src/forward/listener.ts';
import { encodeBase64 } from '../../src/matrix/base64.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { createLogger } from '../../src/platform/log.ts';
import { systemRandom } from '../../src/platform/random.ts';
import { openStore } from '../../src/store/open-store.ts';
import { LoopWatch } from './loop-watch.ts';
import { serve } from './serve.ts';

/**
 * The whole proxy, as it is built for users, before the upstream of a benchmark. Asked anything, it says how long its
 * event loop stood still since it was asked before.
 */
const [homeserverUrl = ''] = process.argv.slice(2);
const keyPath = join(mkdtempSync(join(tmpdir(), 'peek-bench-')), 'signing.key');
writeFileSync(keyPath, `ed25519 bench ${encodeBase64(systemRandom.bytes(32))}\n`);
const config = loadConfig({
  PEEK_HOMESERVER_URL: homeserverUrl,
  PEEK_SERVER_NAME: 'bench.test',
  PEEK_SIGNING_KEY_PATH: keyPath,
  PEEK_READER_TOKEN: 'reader',
  PEEK_RATE_LIMIT: '1000/s',
});
const logger = createLogger('silent');
const store = await openStore({ redisUrl: null, dataDir: ':memory:', clock: systemClock, logger });
const context = createContext(config, { store, clock: systemClock, random: systemRandom, logger });
await context.devicePeeks.start();
await context.homeserver.visibleEvent('!room:bench.test', '$warm');
context.peekingSwitch.turnOn();
let watch = new LoopWatch();
serve(createListener(context.handle), () => {
  const seen = watch.end();
  watch = new LoopWatch();
  return seen;
});
