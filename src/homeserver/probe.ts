import { encodeBase64 } from '../matrix/base64.ts';
import { isObject, type JsonObject, ownMember } from '../matrix/json.ts';
import type { SigningKey } from '../matrix/signing-key.ts';
import { HomeserverDown, NotReadable } from './homeserver.ts';
import { enc, type HomeserverApi, jsonObject } from './homeserver-api.ts';
import type { Reader } from './reader.ts';
import { deniedByWhitelist, type SelfFederation } from './self-federation.ts';

/** What keeps peeking off. */
export interface HomeserverProblem {
  readonly kind: 'down' | 'wrong-name' | 'wrong-key' | 'whitelist' | 'no-reader';
  /** What is wrong. */
  readonly reason: string;
  /** What the operator can do about it. */
  readonly advice: string;
}

export interface HomeserverReport {
  readonly reachable: boolean;
  /** Null while all is well. With `no-reader` alone, rooms of other servers can still be peeked. */
  readonly problem: HomeserverProblem | null;
  /**
   * Whether a long number is taken in the ninth field of a sync token; null when it could not be tried (there
   * is no reader).
   */
  readonly groupsFieldAccepted: boolean | null;
  /** As in `Synapse 1.163.2`; null when it does not say. */
  readonly version: string | null;
}

export interface ProbeDeps {
  readonly api: HomeserverApi;
  readonly self: SelfFederation;
  readonly reader: Reader;
  readonly serverName: string;
  readonly signingKey: SigningKey;
}

const GROUPS_FIELD = 8;
/** The longest number that is ever put there. */
const LONG_NUMBER = '9'.repeat(4000);

/** Looks whether the homeserver is the one we are configured for and lets us in. Never rejects. */
export async function probe(deps: ProbeDeps): Promise<HomeserverReport> {
  const report = { reachable: false, problem: null, groupsFieldAccepted: null, version: null };
  try {
    const version = await softwareOf(deps.api);
    const answered = { ...report, reachable: true, version };
    const stranger = (await strangersKey(deps)) ?? (await refusesOurSignature(deps));
    if (stranger !== null) return { ...answered, problem: stranger };
    await deps.reader.setUp();
    if (!deps.reader.ready) return { ...answered, problem: noReader(deps.reader.problem) };
    return { ...answered, groupsFieldAccepted: await acceptsGroupsField(deps.reader) };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return { ...report, problem: down(reason) };
  }
}

async function softwareOf(api: HomeserverApi): Promise<string | null> {
  const response = await api.send({ method: 'GET', path: '/_matrix/federation/v1/version' });
  if (response.status >= 500) throw new HomeserverDown(`it answered ${response.status}`);
  const server = jsonObject(response.body)?.server;
  if (!isObject(server) || typeof server.name !== 'string') return null;
  return typeof server.version === 'string' ? `${server.name} ${server.version}` : server.name;
}

/** The homeserver's own word on its name and keys (server-server API, "Publishing Keys"). */
async function strangersKey(deps: ProbeDeps): Promise<HomeserverProblem | null> {
  const { serverName, signingKey } = deps;
  const response = await deps.api.send({ method: 'GET', path: '/_matrix/key/v2/server' });
  if (response.status >= 500) throw new HomeserverDown(`it answered ${response.status}`);
  const published = response.status === 200 ? jsonObject(response.body) : null;
  if (published === null) {
    return {
      kind: 'wrong-key',
      reason: 'the homeserver does not publish its keys at PEEK_HOMESERVER_URL',
      advice: 'Its listener there needs the resource "federation".',
    };
  }
  if (published.server_name !== serverName) {
    return {
      kind: 'wrong-name',
      reason: `the homeserver calls itself ${String(published.server_name)}, not ${serverName}`,
      advice: 'Correct PEEK_SERVER_NAME or PEEK_HOMESERVER_URL.',
    };
  }
  if (publicKeyOf(published, signingKey.keyId) === encodeBase64(signingKey.publicKey)) return null;
  return {
    kind: 'wrong-key',
    reason: `the homeserver publishes no ${signingKey.keyId}, or another key of that name`,
    advice: 'Have PEEK_SIGNING_KEY_PATH name the file that the homeserver itself signs with.',
  };
}

/** A signed request about a room that does not exist: how it is refused tells. */
async function refusesOurSignature({
  self,
  serverName,
  signingKey,
}: ProbeDeps): Promise<HomeserverProblem | null> {
  const nowhere = `!peek-no-such-room:${serverName}`;
  const path = `/_matrix/federation/v1/state_ids/${enc(nowhere)}?event_id=${enc('$peek-no-such-event')}`;
  const response = await self.request('GET', path);
  if (response.status === 403 && deniedByWhitelist(response)) {
    return {
      kind: 'whitelist',
      reason: "the homeserver's federation_domain_whitelist lacks its own name",
      advice: `Add ${serverName} to federation_domain_whitelist in homeserver.yaml.`,
    };
  }
  if (response.status !== 401) return null;
  return {
    kind: 'wrong-key',
    reason: `the homeserver refuses what is signed with ${signingKey.keyId}`,
    advice: "PEEK_SIGNING_KEY_PATH needs the homeserver's own file, with the key that it signs with first.",
  };
}

async function acceptsGroupsField(reader: Reader): Promise<boolean | null> {
  const events = (query: string) =>
    reader.send({ method: 'GET', path: `/_matrix/client/v3/events?timeout=0${query}` });
  try {
    const token = jsonObject((await events('')).body)?.end;
    if (typeof token !== 'string') return null;
    const fields = token.split('_');
    if (fields[GROUPS_FIELD] === undefined) return false;
    fields[GROUPS_FIELD] = LONG_NUMBER;
    return (await events(`&from=${enc(fields.join('_'))}`)).status === 200;
  } catch (error) {
    if (error instanceof NotReadable) return null;
    throw error;
  }
}

function publicKeyOf(published: JsonObject, keyId: string): string | null {
  const keys = isObject(published.verify_keys) ? published.verify_keys : {};
  const entry = ownMember(keys, keyId);
  const key = isObject(entry) ? entry.key : null;
  return typeof key === 'string' ? key.replace(/=+$/, '') : null;
}

function noReader(reason: string | null): HomeserverProblem {
  return {
    kind: 'no-reader',
    reason: reason ?? 'the reader could not be set up',
    advice:
      'For peeking into rooms of this homeserver, set PEEK_REGISTRATION_PATH (or PEEK_READER_TOKEN). If it is set, ' +
      'name that very file in app_service_config_files of homeserver.yaml and restart the homeserver.',
  };
}

function down(reason: string): HomeserverProblem {
  return {
    kind: 'down',
    reason: `the homeserver does not answer: ${reason}`,
    advice: 'Start the homeserver, or check PEEK_HOMESERVER_URL.',
  };
}
