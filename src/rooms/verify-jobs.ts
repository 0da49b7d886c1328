import { JsonError, type JsonFault } from '../matrix/json.ts';
import { type RoomVersionRules, roomVersion } from '../matrix/room-versions.ts';
import type { KeyRing } from '../remote-servers/remote-servers.ts';
import { type AnswerOutline, type OutlineLimits, outlineAnswer, parseRange } from './answer-outline.ts';
import { EventRejected, verifyEvent } from './verify-event.ts';

/** A key that events up to a time may be verified with. */
export interface JobKey {
  readonly server: string;
  readonly keyId: string;
  readonly publicKey: Uint8Array;
  /** ms */
  readonly until: number;
}

/** What a worker is asked. `body` is in shared memory, so that sending it costs nothing. */
export type VerifyJob =
  | ({ readonly kind: 'outline'; readonly body: Uint8Array } & OutlineLimits)
  | {
      readonly kind: 'verify';
      readonly body: Uint8Array;
      /** Start and end of each event in the body. */
      readonly ranges: Uint32Array;
      readonly roomId: string;
      readonly version: string;
      readonly keys: readonly JobKey[];
    };

export type VerifyResult =
  | { readonly kind: 'outline'; readonly outline: AnswerOutline }
  | { readonly kind: 'unreadable'; readonly fault: JsonFault; readonly message: string }
  | {
      readonly kind: 'verified';
      readonly events: readonly VerifiedJson[];
      readonly rejected: readonly RejectedJson[];
    };

/** An `EventRejected` as it crosses between threads. */
export type RejectedJson = Readonly<Pick<EventRejected, 'reason' | 'message' | 'isForWantOfKey'>>;

/** A `VerifiedEvent` as JSON text, which crosses between threads at the least cost. */
export interface VerifiedJson {
  readonly eventId: string;
  readonly json: string;
  readonly redacted: boolean;
}

/** Does what a worker is asked; runs in any thread. */
export async function workVerifyJob(job: VerifyJob): Promise<VerifyResult> {
  if (job.kind === 'verify') return verifyRanges(job);
  try {
    return { kind: 'outline', outline: outlineAnswer(job.body, job) };
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    return { kind: 'unreadable', fault: error.kind, message: error.message };
  }
}

async function verifyRanges(job: Extract<VerifyJob, { kind: 'verify' }>): Promise<VerifyResult> {
  const rules = roomVersion(job.version);
  if (rules === undefined) throw new Error(`unknown room version ${job.version}`);
  const room: { roomId: string; rules: RoomVersionRules } = { roomId: job.roomId, rules };
  const keys = keyRingOf(job.keys);
  const events: VerifiedJson[] = [];
  const rejected: RejectedJson[] = [];
  for (let i = 0; i < job.ranges.length; i += 2) {
    const range = { start: job.ranges[i] as number, end: job.ranges[i + 1] as number };
    try {
      const { eventId, pdu, redacted } = await verifyEvent(parseRange(job.body, range), room, keys);
      events.push({ eventId, json: JSON.stringify(pdu), redacted });
    } catch (error) {
      if (!(error instanceof EventRejected)) throw error;
      const { reason, message, isForWantOfKey } = error;
      rejected.push({ reason, message, isForWantOfKey });
    }
  }
  return { kind: 'verified', events, rejected };
}

/** Knows what it was given, and asks nobody. */
function keyRingOf(given: readonly JobKey[]): KeyRing {
  const keys = new Map(given.map((key) => [`${key.server}\u0000${key.keyId}`, key]));
  const known: KeyRing['known'] = (server, keyId, at) => {
    const key = keys.get(`${server}\u0000${keyId}`);
    return key !== undefined && at <= key.until ? key.publicKey : null;
  };
  return { known, publicKey: async (server, keyId, at, use) => known(server, keyId, at, use) };
}
