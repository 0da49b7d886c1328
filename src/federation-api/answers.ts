import type { ServerResponse } from 'node:http';
import { cutConnection } from '../forward/response-head.ts';
import type { Clock } from '../platform/clock.ts';

/** Who takes longer holds what others could be sent. */
const LONGEST_MS = 600_000;

/** 200 with JSON that is bytes already. */
export function sendJson(res: ServerResponse, body: Buffer): void {
  res.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': body.length });
  res.end(body);
}

/**
 * 200 with JSON in many stretches of bytes, as fast as the other side takes them: a room's state can be tens of
 * megabytes. Resolves when all is handed over, or the connection is gone, or cut because it took too long.
 */
export async function sendChunks(
  res: ServerResponse,
  body: { readonly bytes: number; readonly chunks: readonly Uint8Array[] },
  clock: Clock,
): Promise<void> {
  res.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': body.bytes });
  const timer = clock.after(LONGEST_MS, () => cutConnection(res));
  try {
    for (const chunk of body.chunks) {
      if (res.destroyed) return;
      if (!res.write(chunk)) await drained(res);
    }
    const finished = res.destroyed ? null : closedOr(res, 'finish');
    res.end();
    await finished;
  } finally {
    timer.cancel();
  }
}

function drained(res: ServerResponse): Promise<void> {
  return closedOr(res, 'drain');
}

function closedOr(res: ServerResponse, event: 'drain' | 'finish'): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      res.off(event, done);
      res.off('close', done);
      resolve();
    };
    res.once(event, done);
    res.once('close', done);
    if (res.destroyed) done();
  });
}
