import { parseArgs } from 'node:util';
import { beginEntry } from '../test/support/work.ts';
import { buildPage } from './page/build.ts';
import { pageAddress, servePage } from './page/serve.ts';

/**
 * Serves the preview page on the loopback until Ctrl-C: `npm run page -- [--port N] [--homeserver URL]
 * [--room ID_OR_ALIAS] [--user NAME]`. Whatever is named is filled in at the address that it prints.
 */
const DEFAULT_PORT = 8095;

beginEntry();
const { values } = parseArgs({
  options: {
    port: { type: 'string', default: String(DEFAULT_PORT) },
    homeserver: { type: 'string', default: '' },
    room: { type: 'string', default: '' },
    user: { type: 'string', default: '' },
  },
});
const port = Number(values.port);
if (!Number.isInteger(port) || port < 0 || port > 65_535) throw new Error(`--port ${values.port} is no port`);
const { url } = await servePage(await buildPage(), port);
const { homeserver, room, user } = values;
console.log(`The page is at ${pageAddress(url, { homeserver, room, user })}, until Ctrl-C.`);
