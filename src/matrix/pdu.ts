import type { JsonObject } from './json.ts';

/** A persistent data unit: an event as servers exchange it. Shape-checked before it gets this type. */
export interface Pdu extends JsonObject {
  type: string;
  sender: string;
  content: JsonObject;
  depth: number;
  origin_server_ts: number;
}

/** The state key, or null for an event that is not state. */
export function stateKeyOf(pdu: JsonObject): string | null {
  return typeof pdu.state_key === 'string' ? pdu.state_key : null;
}
