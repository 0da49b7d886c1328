import { Router } from 'express';
import { type PeekRoutesDeps, peekRoutes } from './peek-routes.ts';
import { type ReadRoutesDeps, readRoutes } from './read-routes.ts';

export type FederationRouterDeps = PeekRoutesDeps & ReadRoutesDeps;

/**
 * What other servers ask that is ours to answer; everything else goes on to the next handler, unread. The
 * handlers match the raw target themselves: express would decode and normalise it.
 */
export function createFederationRouter(deps: FederationRouterDeps): Router {
  const router = Router();
  router.use(peekRoutes(deps));
  router.use(readRoutes(deps));
  return router;
}
