import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { answers, freePort, type RedisServer, redisServerPath } from './redis-server.ts';

export interface RedisSentinel {
  readonly url: string;
  stop(): Promise<void>;
}

/** Starts one Sentinel on the loopback that knows `server` as the master of that name. */
export async function startSentinel(server: RedisServer, master: string): Promise<RedisSentinel> {
  const dir = mkdtempSync(join(tmpdir(), 'peek-sentinel-'));
  const port = await freePort();
  const settings = ['bind 127.0.0.1', `port ${port}`, `dir ${dir}`];
  settings.push(`sentinel monitor ${master} 127.0.0.1 ${server.port} 1`, '');
  const file = join(dir, 'sentinel.conf');
  writeFileSync(file, settings.join('\n'));
  const child = spawn(redisServerPath(), [file, '--sentinel'], { stdio: 'ignore' });
  const exited = new Promise((done) => child.once('exit', done).once('error', done));
  const stop = async () => {
    child.kill('SIGTERM');
    await exited;
    rmSync(dir, { recursive: true, force: true });
  };
  try {
    await answers(port, child);
  } catch (error) {
    await stop();
    throw error;
  }
  return { url: `redis+sentinel://127.0.0.1:${port}/${master}`, stop };
}
