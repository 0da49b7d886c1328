import type { IncomingMessage, ServerResponse } from 'node:http';
import type { JsonObject } from '../../../src/matrix/json.ts';
import { RoomHomeserver } from '../../support/room-homeserver.ts';

/** Our own homeserver, in the rooms that a test builds; nothing of its keys and notary. */
export class OwnHomeserver extends RoomHomeserver {
  async probe() {
    return { reachable: true, problem: null, groupsFieldAccepted: true, version: 'Scripted' };
  }

  /** Reads by event ID and of history, as one who is in the room has them. */
  override selfRequest = async (_method: string, path: string): Promise<{ status: number; body: Buffer }> => {
    const [, kind, named = ''] = /^\/_matrix\/federation\/v1\/(\w+)\/([^/?]+)/.exec(path) ?? [];
    const id = decodeURIComponent(named);
    const said = (status: number, body: JsonObject) => ({ status, body: Buffer.from(JSON.stringify(body)) });
    if (kind === 'event') {
      const pdu = await this.event(id);
      return pdu === null ? said(404, { errcode: 'M_NOT_FOUND' }) : said(200, { pdus: [pdu] });
    }
    const room = this.rooms.get(id);
    if (room === undefined) return said(404, { errcode: 'M_NOT_FOUND' });
    const list = room.builder.events.slice(-20).map(({ pdu }) => pdu);
    if (kind === 'backfill') return said(200, { pdus: list.toReversed() });
    return kind === 'get_missing_events' ? said(200, { events: list }) : said(404, {});
  };
}

/** What reaches our homeserver through the proxy: it knows nobody's rooms, and its syncs are empty. */
export async function asHomeserver(
  req: IncomingMessage,
  res: ServerResponse,
  forwarded: string[],
): Promise<void> {
  let body = '';
  for await (const chunk of req) body += String(chunk);
  const path = (req.url ?? '').split('?', 1)[0] ?? '';
  if (path.startsWith('/_matrix/federation/')) forwarded.push(`${req.method} ${req.url} ${body}`);
  const said: readonly [number, JsonObject] = path.endsWith('/sync')
    ? [200, { next_batch: 's1_2_3_4_5_6_7_8_9_10', rooms: {} }]
    : path.includes('/send/')
      ? [200, { pdus: {} }]
      : [403, { errcode: 'M_FORBIDDEN', error: 'Host not in room.' }];
  res.writeHead(said[0], { 'content-type': 'application/json' }).end(JSON.stringify(said[1]));
}
