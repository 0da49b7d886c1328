import type { IncomingMessage, ServerResponse } from 'node:http';
import express, { type Express } from 'express';
import type { HistoryTokens } from '../client-api/history-tokens.ts';
import type { JoinServers } from '../client-api/join-servers.ts';
import type { JoinWatch } from '../client-api/join-watch.ts';
import type { PeekedReads } from '../client-api/peeked-reads.ts';
import type { PeekersReceipts } from '../client-api/peekers-receipts.ts';
import type { PreviewRoutes } from '../client-api/preview-routes.ts';
import type { ResidentReads } from '../client-api/resident-reads.ts';
import type { RoomSummaries } from '../client-api/room-summaries.ts';
import { PEEK_PATH, UNPEEK_PATH } from '../client-api/router.ts';
import type { SessionWatch } from '../client-api/session-watch.ts';
import { withHomeserverTokens } from '../client-api/token-targets.ts';
import type { TrafficHints } from '../client-api/traffic-hints.ts';
import { answerVersions } from '../client-api/versions.ts';
import type { SyncHandler } from '../client-sync/sync-handler.ts';
import { type IgnoredUsers, ignoredUsersChanged } from '../client-view/ignored-users.ts';
import type { SendTap } from '../federation-api/send-tap.ts';
import type { PassThrough } from '../forward/pass-through.ts';
import type { RawForwarder } from '../forward/raw-forwarder.ts';
import type { Homeserver } from '../homeserver/homeserver.ts';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import type { Random } from '../platform/random.ts';
import type { PeekingSwitch } from './peeking-switch.ts';
import { requestLog } from './request-log.ts';

export interface RouteTableDeps {
  readonly homeserver: Pick<Homeserver, 'forget'>;
  readonly forwarder: RawForwarder;
  readonly passThrough: PassThrough;
  readonly sync: SyncHandler;
  readonly sendTap: SendTap;
  readonly clientRouter: express.Router;
  readonly federationRouter: express.Router;
  readonly joinServers: JoinServers;
  readonly joinWatch: JoinWatch;
  readonly sessionWatch: SessionWatch;
  readonly previews: PreviewRoutes;
  readonly trafficHints: TrafficHints;
  readonly ignoredUsers: IgnoredUsers;
  readonly peekedReads: PeekedReads;
  readonly historyTokens: HistoryTokens;
  readonly residentReads: ResidentReads;
  readonly peekersReceipts: PeekersReceipts;
  readonly roomSummaries: RoomSummaries;
  readonly peekingSwitch: PeekingSwitch;
  /** Looks whether peeking can come on, when it is off. */
  readonly lookAgain: () => Promise<void>;
  readonly logger: Logger;
  readonly clock: Clock;
  readonly random: Random;
}

const SYNC = /^\/_matrix\/client\/(?:r0|v3|unstable)\/sync$/;
/** After these, tokens that were good may be so no longer. */
const ENDS_SESSIONS =
  /^\/_matrix\/client\/(?:r0|v1|v3|unstable)\/(?:logout|logout\/all|devices\/[^/]+|delete_devices|account\/(?:deactivate|password))$/;
const SEND = /^\/_matrix\/federation\/v1\/send\/[^/]+$/;
const FEDERATION = '/_matrix/federation/';
const PEEKS = '/_matrix/federation/v1/peek/';
const PEEKED =
  /^\/_matrix\/federation\/v1\/(?:peek|event|state|state_ids|event_auth|backfill|get_missing_events|timestamp_to_event)\//;

/** Who answers a request: matched on the raw target, exactly. What nobody has an opinion about passes through. */
export function createRouteTable(deps: RouteTableDeps): (req: IncomingMessage, res: ServerResponse) => void {
  const { forwarder, passThrough, peekingSwitch } = deps;
  const log = requestLog(deps.logger, deps.clock, deps.random);
  const clientApp = ownApp([log, deps.clientRouter], (req, res) => passThrough.handle(req, res));
  const federationApp = ownApp(
    [forPeeks(log), deps.federationRouter],
    (req, res) => void forwarder.forward(req, res),
  );
  const takers = [
    deps.sessionWatch,
    deps.peekedReads,
    deps.historyTokens,
    deps.residentReads,
    deps.peekersReceipts,
    deps.joinServers,
  ];
  // What the homeserver acknowledges in our place is lost to those who peek: it may have come up just now.
  const takeTransaction = async (req: IncomingMessage, res: ServerResponse): Promise<void> => {
    if (!peekingSwitch.on && !peekingSwitch.ending) await deps.lookAgain();
    if (peekingSwitch.on || peekingSwitch.ending) await deps.sendTap.handle(req, res);
    else await forwarder.forward(req, res);
  };

  return (req, res) => {
    const url = req.url ?? '/';
    const query = url.indexOf('?');
    const path = query === -1 ? url : url.slice(0, query);
    if (path.startsWith(FEDERATION)) {
      if (req.method === 'PUT' && SEND.test(path)) void takeTransaction(req, res);
      else if (!peekingSwitch.on) void forwarder.forward(req, res);
      else if (PEEKED.test(path)) federationApp(req, res);
      else void forwarder.forward(req, res);
      return;
    }
    if (req.method === 'GET' && SYNC.test(path)) return void deps.sync.handle(req, res);
    if (peekingSwitch.on) {
      if (req.method === 'POST' && (PEEK_PATH.test(path) || UNPEEK_PATH.test(path)))
        return clientApp(req, res);
      if (req.method === 'GET' && path === '/_matrix/client/versions')
        return void answerVersions(req, res, forwarder);
    }
    if (req.method !== 'GET' && ENDS_SESSIONS.test(path)) forgetAfter(res, deps.homeserver);
    if (req.method !== 'GET') forgetIgnored(path, res, deps.ignoredUsers);
    deps.joinWatch.see(req, res);
    deps.trafficHints.see(req, res);
    if (peekingSwitch.on && deps.roomSummaries.take(req, res)) return;
    const pass = () => {
      if (peekingSwitch.on && deps.previews.take(req, res)) return;
      req.url = withHomeserverTokens(req.url ?? url);
      passThrough.handle(req, res);
    };
    offer(peekingSwitch.on ? takers : [], req, res, pass);
  };
}

/** An express app of one router; what the router leaves alone goes on as if the app were not there. */
function ownApp(
  handlers: express.RequestHandler[],
  otherwise: (req: IncomingMessage, res: ServerResponse) => void,
): Express {
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.use(...handlers);
  app.use((req, res) => otherwise(req, res));
  return app;
}

/** Answers a request, or calls `pass`; false, at once, when the request is none of its own. */
interface Taker {
  take(req: IncomingMessage, res: ServerResponse, pass: () => void): boolean;
}

/** To one after the other: the first that keeps the request answers it. */
function offer(
  [first, ...others]: readonly Taker[],
  req: IncomingMessage,
  res: ServerResponse,
  pass: () => void,
): void {
  const on = () => offer(others, req, res, pass);
  if (first === undefined) pass();
  else if (!first.take(req, res, on)) on();
}

/** Reads pass by in great numbers, and nearly all of them are the homeserver's. */
function forPeeks(handler: express.RequestHandler): express.RequestHandler {
  return (req, res, next) => (req.originalUrl.startsWith(PEEKS) ? handler(req, res, next) : next());
}

/** Whose token it was is the homeserver's to know: everybody is asked for once more. */
function forgetAfter(res: ServerResponse, homeserver: Pick<Homeserver, 'forget'>): void {
  res.once('close', () => {
    // Anybody may ask, without a token too: what was refused has ended nothing.
    const isRefused = res.writableFinished && res.statusCode >= 400 && res.statusCode < 500;
    if (!isRefused) homeserver.forget(null);
  });
}

/** Who has changed the list of whom they ignore is shown by the new one from here on. */
function forgetIgnored(path: string, res: ServerResponse, ignoredUsers: IgnoredUsers): void {
  const userId = ignoredUsersChanged(path);
  if (userId !== null) res.once('close', () => ignoredUsers.forget(userId));
}
