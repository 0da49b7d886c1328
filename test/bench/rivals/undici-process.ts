import { createServer } from 'node:http';
import { type Dispatcher, Pool } from 'undici';
import { serve } from '../serve.ts';

/** The least that forwards a GET with undici: no header is looked at, nothing can fail. */
const pool = new Pool(process.argv[2] ?? '', { headersTimeout: 0, bodyTimeout: 0 });
const server = createServer((req, res) => {
  const method = req.method as Dispatcher.HttpMethod;
  pool.dispatch(
    { method, path: req.url ?? '/', headers: req.headers },
    {
      onRequestStart() {},
      onResponseStart: (_controller, status, headers) => void res.writeHead(status, headers),
      onResponseData: (_controller, chunk) => void res.write(chunk),
      onResponseEnd: () => void res.end(),
      onResponseError: () => void res.destroy(),
    },
  );
});
server.keepAliveTimeout = 60_000;
serve(server);
