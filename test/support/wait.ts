import { setTimeout as sleep } from 'node:timers/promises';
import type { RunningProcess } from './processes.ts';

const POLL_MS = 50;
const REQUEST_MS = 5_000;

/** Polls `url` until it answers 200. Throws when `server` exits before, or after `timeoutMs`. */
export async function untilAnswers(
  url: string,
  server: RunningProcess,
  log: string,
  timeoutMs: number,
): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (Date.now() < deadline) {
    if (!server.running())
      throw new Error(`The server for ${url} exited with ${await server.exited}; see ${log}`);
    if (await answers(url)) return;
    await sleep(POLL_MS);
  }
  throw new Error(`${url} does not answer 200 after ${timeoutMs} ms; see ${log}`);
}

async function answers(url: string): Promise<boolean> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(REQUEST_MS) });
    await response.body?.cancel();
    return response.ok;
  } catch {
    return false;
  }
}
