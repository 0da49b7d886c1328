import { randomBytes } from 'node:crypto';
import { login, type MatrixClient } from '../support/client.ts';
import type { Site } from '../support/federation.ts';

/** A new account of the site with a name that no other test uses. */
export function newUser(site: Pick<Site, 'register'>, role: string): Promise<MatrixClient> {
  return site.register(`${role}-${randomBytes(4).toString('hex')}`);
}

/** A further device of the same user. */
export function furtherDevice(client: MatrixClient): Promise<MatrixClient> {
  return login(client.url, client.userId.slice(1).split(':', 1)[0] ?? '');
}
