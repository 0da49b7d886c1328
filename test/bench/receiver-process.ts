import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { SendTap } from '../../src/federation-api/send-tap.ts';
import type { Authenticate } from '../../src/federation-api/signed-request.ts';
import { RawForwarder } from '../../src/forward/raw-forwarder.ts';
import { TrustedProxies } from '../../src/forward/trusted-proxies.ts';
import { createUpstream } from '../../src/forward/upstream.ts';
import { isObject } from '../../src/matrix/json.ts';
import { Residency } from '../../src/peeking/residency.ts';
import { RequestAuthenticator } from '../../src/remote-servers/request-authenticator.ts';
import { MEMBER_SERVERS } from './big-room.ts';
import { serveParent } from './child.ts';
import { createPeekingSide, warmKeys } from './peeking-side.ts';

/** Events in the room's log, and the CPU time of the process until now, in ms. */
export interface Received {
  readonly held: number;
  readonly cpu: number;
}

/** The tap before `/send`, into logs of rooms that are peeked: told a room and its server it peeks there. */
const side = await createPeekingSide();
const { homeserver, clock, keys, domains, store, outbound, serverName } = side;
const authenticator = new RequestAuthenticator({ serverName, domains, keyRing: keys, clock });
const authenticate: Authenticate = (request) =>
  authenticator.authenticate({
    ...request,
    content: isObject(request.content) ? request.content : undefined,
  });
const forwarder = new RawForwarder(createUpstream('http://127.0.0.1:1'), new TrustedProxies([]));
const residency = new Residency(homeserver, clock);
const tap = new SendTap({ ...side, forwarder, authenticate, residency });

const server = createServer((req, res) => void tap.handle(req, res));
server.listen(0, '127.0.0.1', () => {
  serveParent((server.address() as AddressInfo).port, async (question) => {
    const { roomId, from } = question as { roomId: string; from?: string };
    if (from !== undefined) {
      await warmKeys(side, [from, ...MEMBER_SERVERS]);
      await outbound.subscribe(roomId, [from]);
    }
    const log = await store.logs.get(roomId);
    const { user, system } = process.cpuUsage();
    return {
      held: log === null ? -1 : log.head - log.tail + 1,
      cpu: (user + system) / 1000,
    } satisfies Received;
  });
});
