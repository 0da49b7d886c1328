import express, { type Express } from 'express';
import type { Metrics } from '../platform/metrics.ts';
import type { Health } from './health.ts';
import { statusPage } from './status-page.ts';

export interface OpsDeps {
  readonly health: () => Promise<Health>;
  /** Whether requests may be sent here: the listeners are open and the homeserver has been heard. */
  readonly ready: () => boolean;
  readonly metrics: Metrics;
}

/** `/health`, `/ready`, `/metrics` and a page for people, on a listener of their own. */
export function createOpsApp(deps: OpsDeps): Express {
  const app = express();
  app.disable('x-powered-by');
  app.get('/health', async (_req, res) => {
    const health = await deps.health();
    res.status(health.status === 'red' ? 503 : 200).json(health);
  });
  app.get('/ready', (_req, res) => {
    const ready = deps.ready();
    res.status(ready ? 200 : 503).json({ ready });
  });
  app.get('/metrics', async (_req, res) => {
    await deps.health();
    const { contentType, text } = await deps.metrics.exposition();
    res.type(contentType).send(text);
  });
  app.get('/', async (_req, res) => {
    res.type('html').send(statusPage(await deps.health()));
  });
  app.use((_req, res) => {
    res
      .status(404)
      .json({ errcode: 'M_UNRECOGNIZED', error: 'There are /health, /ready, /metrics and / here' });
  });
  return app;
}
