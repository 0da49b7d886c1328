import { describe, expect, it } from 'vitest';
import {
  makeRegistration,
  parseRegistration,
  RegistrationError,
} from '../../../src/homeserver/registration.ts';
import { systemRandom } from '../../../src/platform/random.ts';

describe('a registration', () => {
  it.each(['a.test', 'localhost:8448', '[::1]:8448'])('that is made for %s reads back', (serverName) => {
    const text = makeRegistration(serverName, systemRandom);
    const read = parseRegistration(text);
    expect(read.readerUserId).toBe(`@_peek_reader:${serverName}`);
    expect(read.asToken).toMatch(/^\w{64}$/);
    expect(text).toMatch(/^url: null$/m);
    expect(text).toMatch(/^rate_limited: false$/m);
  });

  it('names the path that it is made for, in comments that end with their lines', () => {
    const text = makeRegistration('a.test', systemRandom, '/srv/peek.yaml\nid: other');
    expect(text).toContain('#     - /srv/peek.yaml?id: other\n');
    expect(text).toContain('PEEK_REGISTRATION_PATH=/srv/peek.yaml?id: other\n');
    expect(text).not.toContain('/etc/matrix-synapse');
    expect(parseRegistration(text).id).toBe('matrix-peek-proxy');
  });

  it('has other tokens each time', () => {
    const tokens = [1, 2].map(() => parseRegistration(makeRegistration('a.test', systemRandom)).asToken);
    expect(new Set(tokens).size).toBe(2);
  });

  const good = makeRegistration('a.test', systemRandom);
  it.each([
    ['not YAML', '\t: [', /not YAML/],
    ['a list', '- 1', /mapping/],
    ['nothing', '', /mapping/],
    ['no token', good.replace(/^as_token.*$/m, ''), /as_token is missing/],
    ['a token with a line break', good.replace(/^as_token: "/m, '$&\\n'), /as_token cannot be sent/],
    ['no namespace', good.slice(0, good.indexOf('namespaces:')), /exactly one entry/],
    ['a shared namespace', good.replace('exclusive: true', 'exclusive: false'), /exclusive/],
    ['a namespace of many', good.replace(/regex: .*/, 'regex: "@_peek_.*:a\\\\.test"'), /one user ID/],
    ['a namespace of digits', good.replace(/regex: .*/, 'regex: "@_\\\\d:a\\\\.test"'), /one user ID/],
    ['the sender as reader', good.replace('_peek_proxy', '_peek_reader'), /have to differ/],
    ['a bomb of aliases', `a: &a [1]\nb: [*a, *a]\n`, /not YAML|missing/],
  ])('%s is refused', (_, text, message) => {
    expect(() => parseRegistration(text)).toThrow(RegistrationError);
    expect(() => parseRegistration(text)).toThrow(message);
  });

  it('no error message quotes what the file holds', () => {
    expect(() => parseRegistration('as_token: "s3cret\nid: [')).toThrow(/^(?!.*s3cret)/s);
  });

  it('anchors and a bare dot in the regex are understood', () => {
    const text = good.replace(/regex: .*/, 'regex: "^@_peek_reader:a.test$"');
    expect(parseRegistration(text).readerUserId).toBe('@_peek_reader:a.test');
  });
});
