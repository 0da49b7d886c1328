import { eventIdOf } from '../../../src/matrix/event-id.ts';
import { hasValidContentHash } from '../../../src/matrix/hashes.ts';
import { serverNameOf } from '../../../src/matrix/ids.ts';
import type { Pdu } from '../../../src/matrix/pdu.ts';
import type { RoomVersionRules } from '../../../src/matrix/room-versions.ts';
import { verifyPduSignature } from '../../../src/matrix/signed-json.ts';
import { keyOf } from '../../support/room-builder.ts';

/** The least that events have to cost: content hash, reference hash and one signature each. */
export function verifyAlone(events: readonly Pdu[], rules: RoomVersionRules): void {
  for (const pdu of events) {
    const server = serverNameOf(pdu.sender) ?? '';
    const { keyId, publicKey } = keyOf(server);
    const hashes = hasValidContentHash(pdu) && eventIdOf(pdu, rules) !== '';
    if (!hashes || !verifyPduSignature(pdu, rules, server, keyId, publicKey)) {
      throw new Error('an event does not verify');
    }
  }
}
