import { decodeBase64, encodeBase64 } from './base64.ts';
import { canonicalJson } from './canonical-json.ts';
import { isServerName } from './ids.ts';
import { type Json, type JsonObject, MAX_ENVELOPE_DEPTH } from './json.ts';
import type { SigningKey } from './signing-key.ts';

/** The parameters of an `Authorization: X-Matrix` header. */
export interface XMatrix {
  readonly origin: string;
  /** null where an old server left it out. */
  readonly destination: string | null;
  /** `ed25519:<version>`. */
  readonly key: string;
  /** Unpadded base64 of 64 bytes. */
  readonly sig: string;
}

/** A header of the X-Matrix scheme that cannot be read in one way only. */
export class XMatrixError extends Error {
  override readonly name = 'XMatrixError';
}

/** What is signed for a request. `uri` is the raw target, path and query, byte for byte. */
export interface SignedRequest {
  readonly method: string;
  readonly uri: string;
  readonly origin: string;
  readonly destination: string;
  /** The parsed body; absent where there is none. */
  readonly content?: Json;
}

/** Two server names of 255 bytes, a key ID and a signature fit several times. */
const MAX_HEADER_LENGTH = 4096;

const SCHEME = /^X-Matrix(?: +|$)/i;
const NAME = /[!#$%&'*+\-.^_`|~0-9A-Za-z]+[ \t]*=[ \t]*/y;
const QUOTED = /"((?:[^"\\]|\\.)*)"/y;
/** Tokens, and for the sake of older servers everything else that needs no quotes to be read. */
const UNQUOTED = /[^\s",\\]+/y;
const SEPARATOR = /[ \t]*(?:,[ \t]*)+|[ \t]*$/y;

/**
 * Reads an `Authorization` header. null when it is of another scheme (`Bearer`, say). Names in any case,
 * values quoted or not, back-slash escapes, blanks around commas; unknown parameters are ignored. Throws
 * `XMatrixError` for anything that has two readings (a parameter given twice), lacks `origin`, `key` or `sig`,
 * names no valid server, or is longer than 4096 characters.
 */
export function parseXMatrix(header: string): XMatrix | null {
  const scheme = SCHEME.exec(header.slice(0, MAX_HEADER_LENGTH));
  if (scheme === null) return null;
  if (header.length > MAX_HEADER_LENGTH) throw new XMatrixError('The X-Matrix header is too long');
  const parameters = readParameters(header, scheme[0].length);
  const origin = parameters.get('origin');
  const destination = parameters.get('destination') ?? null;
  const key = parameters.get('key');
  const sig = parameters.get('sig');
  if (origin === undefined || key === undefined || sig === undefined) {
    throw new XMatrixError('The X-Matrix header lacks origin, key or sig');
  }
  if (!isServerName(origin)) throw new XMatrixError('The origin is no server name');
  if (destination !== null && !isServerName(destination)) {
    throw new XMatrixError('The destination is no server name');
  }
  if (!key.startsWith('ed25519:')) throw new XMatrixError('The key is no ed25519 key');
  if (decodeBase64(sig)?.length !== 64) throw new XMatrixError('The signature is not base64 of 64 bytes');
  return { origin, destination, key, sig };
}

/** The value of an `Authorization` header, in the plainest form, which the oldest parsers read too. */
export function signRequest(request: SignedRequest, key: SigningKey): string {
  return authorization(request, requestToVerify(request), key);
}

/** The same for a body that is canonical JSON already (null: there is none). */
export function signCanonicalRequest(
  request: Omit<SignedRequest, 'content'>,
  body: string | null,
  key: SigningKey,
): string {
  const rest = requestToVerify(request);
  // `content` comes before all other names.
  return authorization(request, body === null ? rest : `{"content":${body},${rest.slice(1)}`, key);
}

function authorization(
  { origin, destination }: Pick<SignedRequest, 'origin' | 'destination'>,
  signed: string,
  key: SigningKey,
): string {
  const sig = encodeBase64(key.sign(Buffer.from(signed)));
  return `X-Matrix origin="${origin}",destination="${destination}",key="${key.keyId}",sig="${sig}"`;
}

/**
 * The canonical JSON whose UTF-8 bytes the signature of a request covers. `destination` is the verifier's own
 * name also where the header left it out. Throws `JsonError`.
 */
export function requestToVerify(request: SignedRequest): string {
  const { method, uri, origin, destination, content } = request;
  const signed: JsonObject = { method, uri, origin, destination };
  if (content !== undefined) signed.content = content;
  // A transaction may carry events of room versions that allow floats.
  return canonicalJson(signed, { allowFloats: true, maxDepth: MAX_ENVELOPE_DEPTH });
}

/**
 * The same where the content is canonical JSON as it came, as most homeservers send it: it need not be written
 * anew, and may hold what JSON that was parsed does not (`1.0`, integers beyond 2^53, any nesting). A signature
 * over these bytes is one over this content, whatever else a parser would make of it.
 */
export function requestAsSent(request: Omit<SignedRequest, 'content'>, content: Uint8Array): Uint8Array {
  const { method, uri, origin, destination } = request;
  const rest = canonicalJson({ method, uri, origin, destination });
  return Buffer.concat([Buffer.from('{"content":'), content, Buffer.from(`,${rest.slice(1)}`)]);
}

function readParameters(header: string, start: number): Map<string, string> {
  const parameters = new Map<string, string>();
  let at = start;
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at;
    const match = pattern.exec(header);
    if (match !== null) at = pattern.lastIndex;
    return match;
  };
  take(SEPARATOR);
  while (at < header.length) {
    const name = take(NAME)?.[0].split('=', 1)[0]?.trim().toLowerCase();
    const value = take(QUOTED)?.[1]?.replace(/\\(.)/g, '$1') ?? take(UNQUOTED)?.[0];
    if (name === undefined || value === undefined || take(SEPARATOR) === null) {
      throw new XMatrixError('The X-Matrix header is malformed');
    }
    if (parameters.has(name)) throw new XMatrixError(`The X-Matrix header gives ${name} twice`);
    parameters.set(name, value);
  }
  return parameters;
}
