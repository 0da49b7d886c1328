import { PeekAnswerUnusable } from '../feeds/answers/peek-answer.ts';
import { serverNameOf } from '../matrix/ids.ts';
import { MatrixError } from '../platform/matrix-error.ts';
import { RemoteRefusal } from '../remote-servers/remote-servers.ts';

/** Why one server could not be peeked through. */
export interface Failure {
  readonly server: string;
  readonly kind: 'forbidden' | 'not-found' | 'failed';
  readonly reason: string;
  /** The server is there and talks, whatever it said. */
  readonly answered: boolean;
  /** It only asks for patience (429): it may let us all the same. */
  readonly busy?: true;
}

/** How many servers are tried for one peek, of those that were named. */
export const MOST_CANDIDATES = 10;
/** A reason may hold words of the other server. */
const LONGEST_REASON = 200;

/**
 * Candidates in their order, without repeats and without ourselves. The server that the room ID names is always
 * among them: whoever else is named, it is the one most likely to have the room.
 */
export function orderedCandidates(roomId: string, servers: Iterable<string>, ownName: string): string[] {
  const unique = new Set(servers);
  unique.delete(ownName);
  const candidates = [...unique].slice(0, MOST_CANDIDATES);
  const domain = serverNameOf(roomId);
  if (domain === null || domain === ownName || candidates.includes(domain)) return candidates;
  return [...candidates.slice(0, MOST_CANDIDATES - 1), domain];
}

/** Every candidate has failed; what the client is told, and why each of them did. */
export class NobodyLetsUs extends MatrixError {
  readonly failures: readonly Failure[];

  constructor(error: MatrixError, failures: readonly Failure[]) {
    super(error.status, error.errcode as ConstructorParameters<typeof MatrixError>[1], error.message);
    this.failures = failures;
  }

  /** What this server said, if it was asked. */
  by(server: string): Failure | undefined {
    return this.failures.find((failure) => failure.server === server);
  }
}

/** Why a server could not be peeked through, from what its attempt failed with. */
export function failureOf(server: string, error: unknown): Failure {
  if (!(error instanceof PeekAnswerUnusable)) return classifyRefusal(server, error);
  const kind = error.kind === 'forbidden' ? 'forbidden' : 'failed';
  return { server, kind, reason: error.message, answered: true };
}

/** Whether a refusal says that the server does not know the endpoint: MSC2444 is not there. */
export function isUnrecognized(error: unknown): boolean {
  if (!(error instanceof RemoteRefusal)) return false;
  if (error.errcode === 'M_UNRECOGNIZED' || error.status === 405) return true;
  return error.status === 404 && error.errcode === null;
}

/** Reads a peeked server's refusal. A server without MSC2444 answers in several ways: none of them says "no such room". */
function classifyRefusal(server: string, error: unknown): Failure {
  const reason = withoutName(server, error instanceof Error ? error.message : String(error)).slice(
    0,
    LONGEST_REASON,
  );
  if (error instanceof RemoteRefusal) {
    const answered = error.status < 500;
    if (error.status === 403) return { server, kind: 'forbidden', reason, answered };
    if (error.errcode === 'M_NOT_FOUND') return { server, kind: 'not-found', reason, answered };
    if (isUnrecognized(error) || error.status === 404) {
      return { server, kind: 'failed', reason: 'it cannot be peeked', answered };
    }
    return { server, kind: 'failed', reason, answered, ...(error.status === 429 ? { busy: true } : {}) };
  }
  return { server, kind: 'failed', reason, answered: false };
}

/** The server is named before the reason: the reason does not begin with it again. */
function withoutName(server: string, message: string): string {
  return message.startsWith(`${server}: `) ? message.slice(server.length + 2) : message;
}

/** What the client is told when every candidate failed: any 403 wins, then any "not found". */
export function combinedRefusal(failures: readonly Failure[]): NobodyLetsUs {
  return new NobodyLetsUs(combined(failures), failures);
}

function combined(failures: readonly Failure[]): MatrixError {
  const forbidden = failures.find(({ kind }) => kind === 'forbidden');
  if (forbidden !== undefined) {
    return new MatrixError(403, 'M_FORBIDDEN', `This room may not be peeked: ${forbidden.reason}`);
  }
  if (failures.length === 0 || failures.some(({ kind }) => kind === 'not-found')) {
    return new MatrixError(404, 'M_NOT_FOUND', 'No server is known that has this room');
  }
  const list = failures.map(({ server, reason }) => `${server}: ${reason}`).join('; ');
  return new MatrixError(502, 'M_UNKNOWN', `No server could be peeked through (${list})`);
}
