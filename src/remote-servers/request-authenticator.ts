import { decodeBase64 } from '../matrix/base64.ts';
import { verifySignature } from '../matrix/ed25519.ts';
import { JsonError, type JsonObject } from '../matrix/json.ts';
import {
  parseXMatrix,
  requestAsSent,
  requestToVerify,
  type SignedRequest,
  type XMatrix,
  XMatrixError,
} from '../matrix/x-matrix.ts';
import type { Clock } from '../platform/clock.ts';
import { MatrixError } from '../platform/matrix-error.ts';
import type { FederationDomains } from './federation-domains.ts';
import type { KeyRing } from './remote-servers.ts';

/** A server signs with one or two keys; more headers than that are noise. */
const MAX_HEADERS = 5;

export interface ReceivedRequest {
  readonly method: string;
  /** The request target byte for byte as it was received. */
  readonly rawUrl: string;
  /** Every `Authorization` header, in order. */
  readonly authorizationHeaders: readonly string[];
  /** The parsed body; undefined where there is none. */
  readonly content: JsonObject | undefined;
  /** The bytes that `content` came in, where they may be what was signed. */
  readonly bytes?: Uint8Array;
}

export interface RequestAuthenticatorDeps {
  readonly serverName: string;
  readonly domains: FederationDomains;
  readonly keyRing: KeyRing;
  readonly clock: Clock;
}

/** Says which server sent a federation request (specification, "Request Authentication"). */
export class RequestAuthenticator {
  readonly #deps: RequestAuthenticatorDeps;

  constructor(deps: RequestAuthenticatorDeps) {
    this.#deps = deps;
  }

  /**
   * The server that signed the request, never ourselves. Several headers are different keys of one server;
   * one that verifies is enough. Rejects with `MatrixError` 401 `M_UNAUTHORIZED`, without waiting for keys any
   * longer when `signal` aborts.
   */
  async authenticate(request: ReceivedRequest, signal?: AbortSignal): Promise<string> {
    const headers = this.#headers(request.authorizationHeaders);
    const origin = headers[0]?.origin;
    if (origin === undefined) throw unauthorized('The request has no X-Matrix authorization');
    if (headers.some((header) => header.origin !== origin)) {
      throw unauthorized('The request is signed by different servers');
    }
    if (headers.some(({ destination }) => destination !== null && destination !== this.#deps.serverName)) {
      throw unauthorized('The request is for another server');
    }
    if (!this.#deps.domains.allows(origin)) throw unauthorized(`No federation with ${origin}`);
    const { method, rawUrl: uri, content, bytes } = request;
    const signed = { method, uri, origin, destination: this.#deps.serverName };
    let hadKey = false;
    for (const header of headers) {
      const key = await this.#keyOf(header, signal);
      if (key === null) continue;
      hadKey = true;
      if (bytes !== undefined && verifies(key, header, requestAsSent(signed, bytes))) return origin;
      if (verifies(key, header, canonical(signed, content))) return origin;
    }
    throw unauthorized(hadKey ? 'The signature is not valid' : `No valid key of ${origin} could be had`);
  }

  /** Headers of other schemes are passed over; the homeserver does not look at them either. */
  #headers(values: readonly string[]): XMatrix[] {
    if (values.length > MAX_HEADERS) throw unauthorized('Too many Authorization headers');
    try {
      return values.map(parseXMatrix).filter((header) => header !== null);
    } catch (error) {
      if (error instanceof XMatrixError) throw unauthorized(error.message);
      throw error;
    }
  }

  #keyOf({ origin, key }: XMatrix, signal?: AbortSignal): Promise<Uint8Array | null> {
    return this.#deps.keyRing.publicKey(origin, key, this.#deps.clock.now(), 'request', signal);
  }
}

function verifies(publicKey: Uint8Array, { sig }: XMatrix, signed: Uint8Array): boolean {
  const signature = decodeBase64(sig);
  return signature !== null && verifySignature(publicKey, signed, signature);
}

function canonical(signed: Omit<SignedRequest, 'content'>, content: JsonObject | undefined): Uint8Array {
  try {
    return Buffer.from(requestToVerify(content === undefined ? signed : { ...signed, content }));
  } catch (error) {
    if (error instanceof JsonError) throw unauthorized('The body is no JSON that can be signed');
    throw error;
  }
}

function unauthorized(message: string): MatrixError {
  return new MatrixError(401, 'M_UNAUTHORIZED', message);
}
