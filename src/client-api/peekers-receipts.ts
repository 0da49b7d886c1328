import type { IncomingMessage, ServerResponse } from 'node:http';
import type { RawForwarder } from '../forward/raw-forwarder.ts';
import type { Homeserver } from '../homeserver/homeserver.ts';
import { isObject } from '../matrix/json.ts';
import { parseJson } from '../matrix/json-scan.ts';
import type { OutboundPeeks } from '../outbound-peeks/outbound-peeks.ts';
import type { Residency } from '../peeking/residency.ts';
import type { Clock } from '../platform/clock.ts';
import { sendJson } from './json-answer.ts';
import type { Peekers } from './peekers.ts';
import { type RoomPath, roomPathOf } from './room-path.ts';

export interface PeekersReceiptsDeps {
  readonly forwarder: Pick<RawForwarder, 'forward'>;
  readonly homeserver: Pick<Homeserver, 'joinedRooms'>;
  readonly outbound: Pick<OutboundPeeks, 'isPeeked'>;
  readonly residency: Pick<Residency, 'isAbsent'>;
  readonly peekers: Pick<Peekers, 'mayBeOne' | 'of'>;
  readonly clock: Clock;
}

/** The kinds that the specification has; a homeserver refuses others. */
const RECEIPT_TYPES: ReadonlySet<string> = new Set(['m.read', 'm.read.private', 'm.fully_read']);
/** A body is a thread ID, or three event IDs. A longer one the homeserver may judge. */
const MOST_BODY_BYTES = 64 * 1024;

/**
 * `POST /rooms/{roomId}/receipt/{type}/{eventId}` and `/read_markers` of somebody who peeks into the room and is not in
 * it: 200 `{}`, and nobody learns of it. A homeserver would show the receipt to the members. Of members, of all others,
 * and where it cannot be told whose it is, the homeserver gets it; so it does where it would refuse it.
 */
export class PeekersReceipts {
  readonly #deps: PeekersReceiptsDeps;

  constructor(deps: PeekersReceiptsDeps) {
    this.#deps = deps;
  }

  /** False, at once, when it is none. True: it is answered here, or `pass` is called. */
  take(req: IncomingMessage, res: ServerResponse, pass: () => void): boolean {
    if (req.method !== 'POST') return false;
    const path = roomPathOf(req.url ?? '');
    if (path === null || !isReceipt(path)) return false;
    if (!this.#deps.peekers.mayBeOne(req, path.roomId)) return false;
    void this.#handle(req, res, path.roomId, pass);
    return true;
  }

  async #handle(req: IncomingMessage, res: ServerResponse, roomId: string, pass: () => void): Promise<void> {
    const held = await this.#isToBeHeld(req, roomId).catch(() => false);
    if (res.destroyed) return;
    if (!held) return pass();
    try {
      const { bytes, whole } = await beginningOf(req);
      if (whole && isJsonObject(bytes)) await sendJson(res, {}, this.#deps.clock);
      else await this.#deps.forwarder.forward(req, res, whole ? { body: bytes } : { begun: bytes });
    } catch {
      res.destroy();
    }
  }

  /** Rejects where the homeserver or the store does. */
  async #isToBeHeld(req: IncomingMessage, roomId: string): Promise<boolean> {
    const { peekers, homeserver, outbound, residency } = this.#deps;
    const peeker = await peekers.of(req, roomId);
    if (peeker === null) return false;
    if (outbound.isPeeked(roomId) && (await residency.isAbsent(roomId))) return true;
    // A peek goes on until the next `/sync` tells of a join; the receipts of a member are not held back meanwhile.
    return !(await homeserver.joinedRooms(peeker.who.caller)).includes(roomId);
  }
}

function isReceipt({ parts }: RoomPath): boolean {
  const [endpoint, type = '', eventId = ''] = parts;
  if (endpoint === 'read_markers') return parts.length === 1;
  return endpoint === 'receipt' && parts.length === 3 && RECEIPT_TYPES.has(type) && eventId.startsWith('$');
}

/** The body, or the first of one that is too long. */
async function beginningOf(req: IncomingMessage): Promise<{ bytes: Buffer; whole: boolean }> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of req.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    length += chunk.length;
    if (length > MOST_BODY_BYTES) return { bytes: Buffer.concat(chunks), whole: false };
  }
  return { bytes: Buffer.concat(chunks), whole: true };
}

function isJsonObject(body: Buffer): boolean {
  try {
    return isObject(parseJson(body));
  } catch {
    return false;
  }
}
