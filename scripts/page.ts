import { beginEntry } from '../test/support/work.ts';
import { readOptions, refuseUsage } from './options.ts';
import { buildPage } from './page/build.ts';
import { pageAddress, servePage } from './page/serve.ts';

/** Serves the preview page on the loopback until Ctrl-C. Whatever is named is filled in at the address that it prints. */
const DEFAULT_PORT = 8095;
const USAGE = `Usage: npm run page -- [OPTION…]
Serves, on this machine alone, a page that previews a room of another server, until Ctrl-C.
  --port N              where the page is; 0 takes a free port (default: ${DEFAULT_PORT})
  --homeserver URL      your homeserver, as clients reach it
  --room ID_OR_ALIAS    the room to look into
  --user NAME           who looks in; without: a guest`;

beginEntry();
const options = readOptions(USAGE, {
  port: { type: 'string', default: String(DEFAULT_PORT) },
  homeserver: { type: 'string', default: '' },
  room: { type: 'string', default: '' },
  user: { type: 'string', default: '' },
});
const port = Number(options.port);
if (!Number.isInteger(port) || port < 0 || port > 65_535)
  refuseUsage(`--port ${options.port} is no port`, USAGE);
const { url } = await servePage(await buildPage(), port).catch((error: Error) => {
  console.error(`The page cannot be served: ${error.message}`);
  process.exit(1);
});
const { homeserver, room, user } = options;
console.log(`The page is at ${pageAddress(url, { homeserver, room, user })}, until Ctrl-C.`);
