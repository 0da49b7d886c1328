import { createHmac, randomBytes } from 'node:crypto';
import { login, MatrixClient, passwordOf } from '../support/client.ts';
import type { Site } from '../support/federation.ts';
import { send } from '../support/http.ts';
import { REGISTRATION_SHARED_SECRET } from '../support/synapse-config.ts';

/** A new account of the site with a name that no other test uses. */
export function newUser(site: Pick<Site, 'register'>, role: string): Promise<MatrixClient> {
  return site.register(`${role}-${randomBytes(4).toString('hex')}`);
}

/** A further device of the same user. */
export function furtherDevice(client: MatrixClient): Promise<MatrixClient> {
  return login(client.url, client.userId.slice(1).split(':', 1)[0] ?? '');
}

/** A new guest of the site. */
export async function newGuest(site: Pick<Site, 'url'>): Promise<MatrixClient> {
  const answer = await send(site.url, 'POST', '/_matrix/client/v3/register?kind=guest', { body: {} });
  const { user_id: userId, device_id: deviceId, access_token: token } = answer.body;
  if (answer.status !== 200) throw new Error(`No guest: ${answer.status} ${answer.text}`);
  return new MatrixClient(site.url, {
    userId: String(userId),
    deviceId: String(deviceId),
    token: String(token),
  });
}

/** An account that may use Synapse's admin API, made with the secret of its configuration; it talks to `url`. */
export async function registerOperator(url: string, synapse: string, name: string): Promise<MatrixClient> {
  const path = '/_synapse/admin/v1/register';
  const { nonce } = (await send(synapse, 'GET', path)).body;
  const password = passwordOf(name);
  const proof = [nonce, name, password, 'admin'].join('\0');
  const mac = createHmac('sha1', REGISTRATION_SHARED_SECRET).update(proof).digest('hex');
  const body = { nonce, username: name, password, admin: true, mac };
  const { status, text } = await send(synapse, 'POST', path, { body });
  if (status !== 200) throw new Error(`No operator: ${status} ${text}`);
  return login(url, name);
}
