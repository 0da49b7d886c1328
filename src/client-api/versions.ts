import type { IncomingMessage, ServerResponse } from 'node:http';
import { homeserverUnreachable, sendMatrixError } from '../forward/matrix-answer.ts';
import type { RawForwarder } from '../forward/raw-forwarder.ts';
import { isObject } from '../matrix/json.ts';

const MOST_BYTES = 1024 * 1024;
const FLAGS = { 'org.matrix.msc2753': true, 'org.matrix.msc2444': true };

/** `GET /_matrix/client/versions`: the homeserver's answer, and that peeking works here. */
export async function answerVersions(
  req: IncomingMessage,
  res: ServerResponse,
  forwarder: RawForwarder,
): Promise<void> {
  try {
    const answer = await forwarder.fetchWhole(req, { maxBytes: MOST_BYTES, dropAcceptEncoding: true });
    const body = answer.status === 200 ? withFlags(answer.body) : answer.body;
    const headers: string[] = [];
    for (let i = 0; i < answer.rawHeaders.length; i += 2) {
      const name = (answer.rawHeaders[i] as string).toLowerCase();
      if (name === 'content-length' || name === 'transfer-encoding') continue;
      headers.push(answer.rawHeaders[i] as string, answer.rawHeaders[i + 1] as string);
    }
    res.writeHead(answer.status, [...headers, 'Content-Length', String(body.byteLength)]);
    res.end(body);
  } catch {
    if (!res.headersSent) sendMatrixError(res, homeserverUnreachable());
  }
}

function withFlags(body: Buffer): Buffer {
  try {
    const versions: unknown = JSON.parse(body.toString());
    if (!isObject(versions)) return body;
    const features = isObject(versions.unstable_features) ? versions.unstable_features : {};
    return Buffer.from(JSON.stringify({ ...versions, unstable_features: { ...features, ...FLAGS } }));
  } catch {
    return body;
  }
}
