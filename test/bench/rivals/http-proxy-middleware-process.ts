import { Agent, createServer } from 'node:http';
import { createProxyMiddleware } from 'http-proxy-middleware';
import { serve } from '../serve.ts';

/** http-proxy-middleware as its manual shows it, with an agent that keeps connections alive. */
const middleware = createProxyMiddleware({
  target: process.argv[2] ?? '',
  agent: new Agent({ keepAlive: true, maxSockets: Infinity }),
});
const server = createServer((req, res) => void middleware(req, res));
server.keepAliveTimeout = 60_000;
serve(server);
