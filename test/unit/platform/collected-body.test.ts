import { expect, test } from 'vitest';
import { CollectedBody, LARGE_BODY_BYTES } from '../../../src/platform/collected-body.ts';

test.each([0, 1, LARGE_BODY_BYTES, LARGE_BODY_BYTES + 1, 5 * LARGE_BODY_BYTES])(
  '%i bytes come out as they went in',
  (length) => {
    const bytes = Buffer.from(Array.from({ length }, (_, i) => (i * 7) % 251));
    const body = new CollectedBody(64 * LARGE_BODY_BYTES);
    for (let at = 0; at < length; at += 65_000) body.add(bytes.subarray(at, at + 65_000));
    expect(body.length).toBe(length);
    expect(body.bytes().equals(bytes)).toBe(true);
    expect(body.bytes().buffer instanceof SharedArrayBuffer).toBe(length > LARGE_BODY_BYTES);
  },
);
