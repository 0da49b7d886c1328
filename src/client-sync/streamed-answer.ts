import { Readable } from 'node:stream';
import type { UpstreamResponse } from '../forward/fetched-exchange.ts';
import { readWhile, type WholeResponse } from '../forward/raw-forwarder.ts';
import { headOf } from '../forward/response-head.ts';
import type { Share } from './held-answers.ts';

/** The homeserver's answer is more than may be held; nothing of it is lost, and one who asked for it may have it. */
export class AnswerTooLarge extends Error {
  override readonly name = 'AnswerTooLarge';
  #response: UpstreamResponse | null;

  constructor(response: UpstreamResponse) {
    super('the answer is larger than may be held');
    this.#response = response;
  }

  /** The answer from its beginning, to be streamed; null for all but the first who asks. */
  claim(): UpstreamResponse | null {
    const response = this.#response;
    this.#response = null;
    return response;
  }
}

/** The answer held whole, counted in the share. Rejects with {@link AnswerTooLarge}, or as the answer breaks off. */
export async function holdWhole(response: UpstreamResponse, share: Share): Promise<WholeResponse> {
  const { status, rawHeaders } = response;
  const body = await readWhile(response, (bytes) => share.grow(bytes));
  if (body === null) throw new AnswerTooLarge(response);
  return { status, rawHeaders, body };
}

/** As Synapse writes it: the token comes first, and is written without escapes. */
const TOKEN_FIRST = /^\s*\{\s*"next_batch"\s*:\s*"([ !#-[\]-~]*)"/;
/** So far into the answer the token is looked for, bytes. */
const LOOKED_AT = 4096;

/**
 * An answer that streams through with another `next_batch`, where that is its first member and the answer is not
 * coded; else it stays as it is. Rejects if the answer breaks off in its first bytes.
 */
export async function withNextBatch(
  response: UpstreamResponse,
  nextBatch: (token: string) => string,
): Promise<UpstreamResponse> {
  if (response.status !== 200 || headerAt(response.rawHeaders, 'content-encoding') !== -1) return response;
  const whole = await readWhile(response, (bytes) => bytes < LOOKED_AT);
  const begin = whole ?? (response.body.read(LOOKED_AT) as Buffer);
  const token = TOKEN_FIRST.exec(begin.toString('latin1'));
  const [head, given] = [token?.[0] ?? '', token?.[1] ?? ''];
  const replaced = Buffer.from(
    `${head.slice(0, head.length - given.length - 1)}${nextBatch(given)}"`,
    'latin1',
  );
  const edited = token === null ? begin : Buffer.concat([replaced, begin.subarray(head.length)]);
  const rawHeaders = lengthened(response.rawHeaders, edited.byteLength - begin.byteLength);
  if (whole !== null)
    return { ...response, rawHeaders, body: Readable.from([edited], { objectMode: false }) };
  response.body.unshift(edited);
  return { ...response, rawHeaders };
}

function lengthened(rawHeaders: string[], more: number): string[] {
  const at = headerAt(rawHeaders, 'content-length');
  return at === -1 ? rawHeaders : rawHeaders.with(at + 1, String(Number(rawHeaders[at + 1]) + more));
}

/** An answer that is held whole, to be streamed. */
export function streamOf({ status, rawHeaders, body }: WholeResponse): UpstreamResponse {
  return { ...headOf(status, undefined, rawHeaders), body: Readable.from([body], { objectMode: false }) };
}

/** Where a header's name is in the list; -1 where it is not. */
function headerAt(rawHeaders: readonly string[], name: string): number {
  return rawHeaders.findIndex((header, i) => i % 2 === 0 && header.toLowerCase() === name);
}
