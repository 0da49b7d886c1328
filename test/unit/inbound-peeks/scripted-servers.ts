import type { JsonObject } from '../../../src/matrix/json.ts';
import {
  type RemoteRequest,
  type RemoteServers,
  RemoteUnreachable,
} from '../../../src/remote-servers/remote-servers.ts';

export interface Sent {
  readonly server: string;
  readonly path: string;
  readonly pdus: JsonObject[];
  readonly expired: JsonObject[];
}

type Answer = (server: string, sent: Sent) => Promise<JsonObject> | JsonObject;

/** The servers that peek us: they note what they are sent, and answer as the test says. */
export class ScriptedServers implements RemoteServers {
  readonly sent: Sent[] = [];
  answer: Answer = () => ({ pdus: {} });
  /** The most requests that one server had to answer at the same time. */
  mostAtOnce = 0;
  readonly #open = new Map<string, number>();

  async request(server: string, request: RemoteRequest): Promise<JsonObject> {
    const body = JSON.parse(request.canonicalBody ?? '{}') as JsonObject;
    const sent = {
      server,
      path: request.path,
      pdus: (body.pdus ?? []) as JsonObject[],
      expired: (body.expired_peeks ?? []) as JsonObject[],
    };
    this.sent.push(sent);
    const open = (this.#open.get(server) ?? 0) + 1;
    this.#open.set(server, open);
    this.mostAtOnce = Math.max(this.mostAtOnce, open);
    try {
      const givenUp = new Promise<never>((_, reject) => {
        request.signal?.addEventListener('abort', () => reject(new RemoteUnreachable(server)));
      });
      givenUp.catch(() => {});
      return await Promise.race([this.answer(server, sent), givenUp]);
    } finally {
      this.#open.set(server, (this.#open.get(server) ?? 1) - 1);
    }
  }

  async software(): Promise<null> {
    return null;
  }

  availableIn(): number {
    return 0;
  }

  /** What a server has been sent of a room, in order. */
  bodies(server: string, roomId?: string): unknown[] {
    return this.sent
      .filter((sent) => sent.server === server)
      .flatMap((sent) => sent.pdus)
      .filter((pdu) => roomId === undefined || pdu.room_id === roomId)
      .map((pdu) => (pdu.content as JsonObject).body ?? pdu.type);
  }
}
