const UNKNOWN_AUTHORITY = 'its certificate is of no authority that is trusted here';

/** By the code of the TLS error. Node's own words advise its command line, which is nothing that a client could use. */
const UNTRUSTED: ReadonlyMap<unknown, string> = new Map([
  ['DEPTH_ZERO_SELF_SIGNED_CERT', 'its certificate is self-signed'],
  ['SELF_SIGNED_CERT_IN_CHAIN', UNKNOWN_AUTHORITY],
  ['UNABLE_TO_GET_ISSUER_CERT', UNKNOWN_AUTHORITY],
  ['UNABLE_TO_GET_ISSUER_CERT_LOCALLY', UNKNOWN_AUTHORITY],
  ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', UNKNOWN_AUTHORITY],
]);
const MOST_CAUSES = 5;

/** What is wrong with a certificate that nobody vouches for, to be said to anybody; null for every other error. */
export function untrustedCertificate(error: unknown): string | null {
  if (!(error instanceof Error) || !('code' in error)) return null;
  return UNTRUSTED.get(error.code) ?? null;
}

/** A field for the log where another server's certificate, at the bottom of `error`, is one that nobody vouches for. */
export function certificateAdvice(error: unknown): { readonly advice?: string } {
  for (
    let cause = error, depth = 0;
    cause instanceof Error && depth < MOST_CAUSES;
    cause = cause.cause, depth++
  ) {
    if (untrustedCertificate(cause) !== null) {
      return { advice: 'if it is of an authority of your own, name that in PEEK_FEDERATION_CA_PATH' };
    }
  }
  return {};
}
