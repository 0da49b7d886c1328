import { createServer } from 'node:http';
import { serve } from './serve.ts';

/** The size of the answer to a `/sync` with nothing much in it. */
const BODY = Buffer.alloc(2048, '{"next_batch":"s1_2_3"}');

/** A homeserver that costs as little as possible: a fixed body, or no answer at all for `/held`. */
const server = createServer((req, res) => {
  if (req.url?.startsWith('/held')) return;
  res.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': BODY.length });
  res.end(BODY);
});
server.keepAliveTimeout = 60_000;
serve(server);
