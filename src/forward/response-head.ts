import type { ServerResponse } from 'node:http';
import type { Dispatcher } from 'undici';
import { endToEndHeaders, isHopByHop } from './request-hygiene.ts';

/** Status line and end-to-end headers (`[name, value, …]`) of an answer of the homeserver. */
export interface ResponseHead {
  readonly status: number;
  readonly reason: string;
  readonly rawHeaders: string[];
  /** What tells where the body ends (RFC 9112 §6.3). */
  readonly framing: 'length' | 'chunked' | 'connection';
}

/** Reads a head out of undici's callback, in one pass. Names keep their case, values their bytes (latin1). */
export function readHead(
  controller: Dispatcher.DispatchController,
  status: number,
  reason: string | undefined,
): ResponseHead {
  const raw = (controller.rawHeaders ?? []) as readonly (Buffer | string)[];
  const rawHeaders: string[] = [];
  let framing: ResponseHead['framing'] = 'connection';
  for (let i = 0; i < raw.length; i += 2) {
    const name = textOf(raw[i] as Buffer | string);
    framing = framedBy(name) ?? framing;
    if (!isHopByHop(name)) rawHeaders.push(name, textOf(raw[i + 1] as Buffer | string));
    else if (namesOthers(name, raw[i + 1] as Buffer | string)) return headOf(status, reason, raw.map(textOf));
  }
  return { status, reason: reason ?? '', rawHeaders, framing };
}

function textOf(part: Buffer | string): string {
  return typeof part === 'string' ? part : part.toString('latin1');
}

/** Whether this is a `Connection` that makes other headers hop-by-hop too. */
function namesOthers(name: string, value: Buffer | string): boolean {
  if (name.length !== 10 || name.toLowerCase() !== 'connection') return false;
  const options = textOf(value).toLowerCase();
  return options !== 'keep-alive' && options !== 'close';
}

/** The same out of a raw header list as node:http has it. */
export function headOf(status: number, reason: string | undefined, raw: readonly string[]): ResponseHead {
  let framing: ResponseHead['framing'] = 'connection';
  for (let i = 0; i < raw.length; i += 2) framing = framedBy(raw[i] as string) ?? framing;
  return { status, reason: reason ?? '', rawHeaders: endToEndHeaders(raw), framing };
}

/** Responses whose body ends, for the client, where the connection does. */
const endingWithConnection = new WeakSet<ServerResponse>();

/**
 * Writes a head to the client; it leaves with the first bytes of the body or with `flushHeaders`.
 * A body that upstream left unframed stays so: framed by us, a cut one would look complete.
 */
export function writeHead(res: ServerResponse, head: ResponseHead): void {
  const bodiless = head.status === 204 || head.status === 304 || res.req.method === 'HEAD';
  if (head.framing === 'connection' && !bodiless) res.useChunkedEncodingByDefault = false;
  if (head.framing !== 'length' && !res.useChunkedEncodingByDefault) endingWithConnection.add(res);
  res.sendDate = false;
  res.writeHead(head.status, head.reason, head.rawHeaders);
}

/**
 * Passes an interim response (1xx) on, to HTTP/1.1 clients. It is written to the connection itself, which
 * a response has only when it is its turn; a pipelined request behind another one goes without.
 */
export function writeInterim(res: ServerResponse, head: ResponseHead): void {
  if (res.headersSent || !res.socket?.writable || res.req.httpVersionMinor === 0) return;
  let text = `HTTP/1.1 ${head.status} ${head.reason}\r\n`;
  for (let i = 0; i < head.rawHeaders.length; i += 2) {
    text += `${head.rawHeaders[i]}: ${head.rawHeaders[i + 1]}\r\n`;
  }
  res.socket.write(`${text}\r\n`, 'latin1');
}

/**
 * Cuts the client off after an answer that broke off: with a reset where the end of the connection would
 * otherwise be the regular end of the body.
 */
export function cutConnection(res: ServerResponse): void {
  if (endingWithConnection.has(res) && res.socket && !('encrypted' in res.socket))
    res.socket.resetAndDestroy();
  else res.destroy();
}

function framedBy(name: string): ResponseHead['framing'] | null {
  if (name.length === 14 && name.toLowerCase() === 'content-length') return 'length';
  if (name.length === 17 && name.toLowerCase() === 'transfer-encoding') return 'chunked';
  return null;
}
