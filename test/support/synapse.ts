import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { testCertificates } from './certificates.ts';
import { type RunningProcess, startProcess } from './processes.ts';
import { ensureSigningKey, type SynapseOptions, synapseConfig } from './synapse-config.ts';
import { synapsePython } from './synapse-environment.ts';
import { untilAnswers } from './wait.ts';

export type { SynapseOptions } from './synapse-config.ts';

/** What may be another from one start to the next; `null`: no registration. */
export interface SynapseChanges {
  readonly registrationPath?: string | null;
  readonly tls?: boolean;
}

/** A real homeserver on loopback. */
export interface RunningSynapse {
  /** Its plain HTTP address, without the proxy: `http://127.0.0.1:PORT`. */
  readonly url: string;
  readonly serverName: string;
  readonly signingKeyPath: string;
  /** Standard output and error of every start. */
  readonly log: string;
  /** Of the present start. */
  readonly pid: number;
  stop(): Promise<void>;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** Starts it again with the same data, stopping it before where it runs; from then on with these options changed. */
  restart(changes?: SynapseChanges): Promise<void>;
}

const START_TIMEOUT_MS = 60_000;

/**
 * Starts Synapse and resolves when it answers, about 2 s. Others reach its server name only through
 * who listens on the name's port: a proxy in front of it, or itself with `tls`.
 */
export async function startSynapse(options: SynapseOptions): Promise<RunningSynapse> {
  const [python, certificates] = [await synapsePython(), await testCertificates()];
  await mkdir(options.dir, { recursive: true });
  const signingKey = await ensureSigningKey(options.dir);
  const config = join(options.dir, 'homeserver.yaml');
  const configure = (present: SynapseOptions) =>
    writeFile(config, JSON.stringify(synapseConfig(present, certificates), null, 2));
  await configure(options);
  const url = `http://127.0.0.1:${options.httpPort}`;
  const log = join(options.dir, 'synapse.log');

  const start = async (): Promise<RunningProcess> => {
    const args = ['-m', 'synapse.app.homeserver', '-c', config];
    const server = startProcess(python, args, { cwd: options.dir, log });
    try {
      await untilAnswers(`${url}/health`, server, log, START_TIMEOUT_MS);
    } catch (error) {
      await server.kill();
      throw error;
    }
    return server;
  };

  let server = await start();
  let present = options;
  return {
    url,
    serverName: options.serverName,
    signingKeyPath: signingKey,
    log,
    get pid() {
      return server.pid;
    },
    async stop() {
      await server.stop();
    },
    kill: () => server.kill(),
    async restart(changes = {}) {
      const { registrationPath, ...others } = { ...present, ...changes };
      present = { ...others, ...(registrationPath && { registrationPath }) };
      await configure(present);
      await server.stop();
      server = await start();
    },
  };
}
