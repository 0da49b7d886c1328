/** An event that is not a PDU of its room version: wrong shape, too large, or not canonical. */
export class PduError extends Error {
  override readonly name = 'PduError';
}
