import { parse, YAMLParseError } from 'yaml';
import { isUserId, serverNameOf } from '../matrix/ids.ts';
import { isObject } from '../matrix/json.ts';
import { alphanumeric, type Random } from '../platform/random.ts';

const ID = 'matrix-peek-proxy';
const SENDER_LOCALPART = '_peek_proxy';
const READER_LOCALPART = '_peek_reader';
const TOKEN_LENGTH = 64;
const USUAL_PATH = '/etc/matrix-synapse/peek-registration.yaml';

/** What we need of an appservice registration (application service API, "Registration"). */
export interface Registration {
  readonly id: string;
  readonly asToken: string;
  /**
   * The user that reads: the one of the `users` namespace. It is never the sender user, for which Synapse
   * answers `/events` with 500.
   */
  readonly readerUserId: string;
}

/** A registration that gives no reader. Its message holds no token. */
export class RegistrationError extends Error {
  override readonly name = 'RegistrationError';
}

/** A registration file with fresh tokens, for the homeserver and for us; its comment says that it is at `path`. */
export function makeRegistration(serverName: string, random: Random, path = USUAL_PATH): string {
  const reader = `@${READER_LOCALPART}:${serverName}`;
  return `# Registers ${reader}, a user who is in no room: as this user matrix-peek-proxy
# reads world-readable rooms of the homeserver.
#
# Put this file where the homeserver can read it, name it in homeserver.yaml and restart the homeserver:
#
#   app_service_config_files:
#     - ${oneLine(path)}
#
# Give the proxy the same file: PEEK_REGISTRATION_PATH=${oneLine(path)}
# It holds secrets: nobody else should be able to read it.
id: ${ID}
as_token: "${alphanumeric(random, TOKEN_LENGTH)}"
hs_token: "${alphanumeric(random, TOKEN_LENGTH)}"
sender_localpart: ${SENDER_LOCALPART}
# Nothing is pushed to the proxy. The line has to be there all the same.
url: null
rate_limited: false
namespaces:
  users:
    - exclusive: true
      regex: ${JSON.stringify(literalRegex(reader))}
  aliases: []
  rooms: []
`;
}

/** Reads a registration file. Throws `RegistrationError`, whose message says what is wrong. */
export function parseRegistration(text: string): Registration {
  const file = parseYaml(text);
  const id = requiredText(file, 'id');
  const asToken = requiredText(file, 'as_token');
  const senderLocalpart = requiredText(file, 'sender_localpart');
  if (!/^[\x21-\x7e]+$/.test(asToken)) throw new RegistrationError('as_token cannot be sent in a header');
  const namespaces = file.namespaces;
  const users = isObject(namespaces) && Array.isArray(namespaces.users) ? namespaces.users : [];
  const [namespace, ...others] = users;
  if (!isObject(namespace) || typeof namespace.regex !== 'string' || others.length > 0) {
    throw new RegistrationError('namespaces.users needs exactly one entry with a regex: the reader');
  }
  if (namespace.exclusive !== true) throw new RegistrationError('the users namespace has to be exclusive');
  const readerUserId = literalOf(namespace.regex);
  if (readerUserId === null || !isUserId(readerUserId)) {
    throw new RegistrationError('the regex of the users namespace has to be one user ID, with "." escaped');
  }
  if (readerUserId === `@${senderLocalpart}:${serverNameOf(readerUserId)}`) {
    throw new RegistrationError('the user of the namespace and sender_localpart have to differ');
  }
  return { id, asToken, readerUserId };
}

function parseYaml(text: string): Record<string, unknown> {
  try {
    const file: unknown = parse(text, { maxAliasCount: 0 });
    if (isObject(file)) return file;
  } catch (error) {
    const where = error instanceof YAMLParseError ? error.linePos?.[0] : undefined;
    // The library's own message quotes the line, which may hold a token.
    throw new RegistrationError(`the file is not YAML${where === undefined ? '' : ` (line ${where.line})`}`);
  }
  throw new RegistrationError('the file is not a YAML mapping');
}

function requiredText(file: Record<string, unknown>, name: string): string {
  const value = file[name];
  if (typeof value !== 'string' || value === '') throw new RegistrationError(`${name} is missing`);
  return value;
}

/** A comment ends with its line. */
function oneLine(text: string): string {
  return text.replace(/\p{C}|\p{Zl}|\p{Zp}/gu, '?');
}

function literalRegex(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
}

/** The one text that a regular expression without operators matches; a bare dot is taken for a dot. */
function literalOf(regex: string): string | null {
  const bare = regex.replace(/^\^/, '').replace(/(?<!\\)\$$/, '');
  let text = '';
  for (let at = 0; at < bare.length; at++) {
    const character = bare[at] as string;
    if (character === '\\') {
      const escaped = bare[++at];
      if (escaped === undefined || /[0-9A-Za-z]/.test(escaped)) return null;
      text += escaped;
    } else if (/[\^$*+?()[\]{}|]/.test(character)) {
      return null;
    } else {
      text += character;
    }
  }
  return text;
}
