import { isObject, type JsonObject } from '../matrix/json.ts';

/** A join has two signers, an event of room versions 1 and 2 may have one more. */
const MOST_SIGNERS = 3;
/** A server has one key, or two while it changes them; old ones come with them. */
const MOST_KEYS = 3;
/** Keys of one answer: beyond that many a further one counts as unknown. */
const MOST_USES = 20_000;

/** A key as the events of an answer use it. */
export interface SignerUse {
  readonly server: string;
  readonly keyId: string;
  /** When the events were sent, in ms, ascending. */
  readonly times: Float64Array;
}

/** Collects which keys events are said to be signed with, and when. */
export class SignerTimes {
  readonly #times = new Map<string, { server: string; keyId: string; at: number[] }>();

  /** Whose signatures with which keys an event has, as far as they are looked at. */
  static named(signatures: JsonObject): [server: string, keyId: string][] {
    return Object.entries(signatures)
      .slice(0, MOST_SIGNERS)
      .flatMap(([server, byKey]) =>
        isObject(byKey)
          ? Object.keys(byKey)
              .slice(0, MOST_KEYS)
              .map((keyId): [string, string] => [server, keyId])
          : [],
      );
  }

  add(event: {
    readonly at: number | null;
    readonly signatures: readonly (readonly [string, string])[];
  }): void {
    if (event.at === null) return;
    for (const [server, keyId] of event.signatures) {
      const name = `${server}\u0000${keyId}`;
      const use = this.#times.get(name);
      if (use !== undefined) use.at.push(event.at);
      else if (this.#times.size < MOST_USES) this.#times.set(name, { server, keyId, at: [event.at] });
    }
  }

  uses(): SignerUse[] {
    return [...this.#times.values()].map(({ server, keyId, at }) => ({
      server,
      keyId,
      times: Float64Array.from(at).sort(),
    }));
  }
}
