import type { PduList } from '../../src/homeserver/pdu-list.ts';
import type { Pdu } from '../../src/matrix/pdu.ts';

/** The PDUs of a list, as objects. */
export function pdusOf(list: PduList): Pdu[] {
  const pdus = JSON.parse(`[${Buffer.concat(list.chunks).toString()}]`) as Pdu[];
  if (pdus.length !== list.count) throw new Error(`${pdus.length} PDUs where ${list.count} are counted`);
  return pdus;
}
