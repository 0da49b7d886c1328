import type { ServerResponse } from 'node:http';

/** 200 with JSON that is bytes already: a room's state can be tens of megabytes. */
export function sendJson(res: ServerResponse, body: Buffer): void {
  res.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': body.length });
  res.end(body);
}
