/** JSON as Matrix has it: no floats in what is signed, integers within ±(2^53−1). */
export type Json = null | boolean | number | string | Json[] | JsonObject;
export interface JsonObject {
  [key: string]: Json;
}

/** What is wrong with a JSON text or value. */
export type JsonFault = 'not-json' | 'too-deep' | 'too-large' | 'bad-number' | 'bad-string';

/** A JSON text or value that is not acceptable; `kind` says why. */
export class JsonError extends Error {
  override readonly name = 'JsonError';
  readonly kind: JsonFault;

  constructor(kind: JsonFault, message: string) {
    super(message);
    this.kind = kind;
  }
}

/** How deep JSON may nest by default. Events in use stay far below; code that recurses stays safe. */
export const MAX_JSON_DEPTH = 100;
/** What we sign or verify around events is a few levels deeper than they may be. */
export const MAX_ENVELOPE_DEPTH = MAX_JSON_DEPTH + 10;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The object's own member of that name: safe for names that a remote chose (`__proto__`, `constructor`). */
export function ownMember(object: JsonObject, name: string): Json | undefined {
  return Object.hasOwn(object, name) ? object[name] : undefined;
}

/** The object without some of its members; `__proto__` as an own member survives. */
export function without(object: JsonObject, ...names: readonly string[]): JsonObject {
  const rest: JsonObject = { ...object };
  for (const name of names) delete rest[name];
  return rest;
}
