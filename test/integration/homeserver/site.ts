import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeRegistration } from '../../../src/homeserver/registration.ts';
import { createHomeserver, type SynapseHomeserver } from '../../../src/homeserver/synapse-homeserver.ts';
import { systemClock } from '../../../src/platform/clock.ts';
import { systemRandom } from '../../../src/platform/random.ts';
import { freePort } from '../../support/ports.ts';
import { type RunningSynapse, type SynapseOptions, startSynapse } from '../../support/synapse.ts';

/** A Synapse that has loaded a registration, and our view of it. */
export interface HomeserverSite {
  readonly synapse: RunningSynapse;
  readonly homeserver: SynapseHomeserver;
  readonly registration: string;
  readonly signingKeyText: string;
  stop(): Promise<void>;
}

export async function startHomeserverSite(options: Partial<SynapseOptions> = {}): Promise<HomeserverSite> {
  const dir = await mkdtemp(join(tmpdir(), 'peek-homeserver-'));
  const [port, httpPort] = [await freePort(), await freePort()];
  const serverName = `localhost:${port}`;
  const registration = makeRegistration(serverName, systemRandom);
  const registrationPath = join(dir, 'registration.yaml');
  await writeFile(registrationPath, registration);
  const synapse = await startSynapse({ serverName, dir, httpPort, registrationPath, ...options });
  const signingKeyText = await readFile(synapse.signingKeyPath, 'utf8');
  const homeserver = createHomeserver({
    url: synapse.url,
    serverName,
    signingKeyText,
    reader: { kind: 'registration', text: registration },
    clock: systemClock,
  });
  return {
    synapse,
    homeserver,
    registration,
    signingKeyText,
    async stop() {
      await homeserver.close();
      await synapse.stop();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

/** A long-poll that nobody cancels. */
export function poll(timeoutMs = 5000): { timeoutMs: number; signal: AbortSignal } {
  return { timeoutMs, signal: AbortSignal.timeout(30_000) };
}
