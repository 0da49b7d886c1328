import type { Json, JsonObject } from '../../../src/matrix/json.ts';
import { compileServerAcl, matchesGlob } from '../../../src/matrix/server-acl.ts';
import { type Maker, made } from '../made.ts';
import { property, same } from '../property.ts';

const HOSTS = ['a', 'b.a', 'evil.com', 'x.evil.com', 'evil.com.a', 'EVIL.com', '1.2.3.4', '[::1]', 'a-b.c'];
const PIECES = [
  '*',
  '?',
  'a',
  'b',
  '.',
  'evil',
  'com',
  'E',
  '1',
  '[',
  ']',
  '^',
  '+',
  '(',
  '|',
  '$',
  '\\',
  '-',
];

const compiled = new Map<string, RegExp>();

function regExpOf(glob: string): RegExp {
  const known = compiled.get(glob) ?? compile(glob);
  if (compiled.size < 50_000) compiled.set(glob, known);
  return known;
}

const compile = (glob: string): RegExp =>
  new RegExp(
    `^${[...glob].map((c) => (c === '*' ? '[^]*' : c === '?' ? '[^]' : c.replace(/[\\^$.*+?()[\]{}|/-]/, '\\$&'))).join('')}$`,
    'i',
  );

/** What an ACL says, in the words of the specification, by regular expressions. */
function allowedByRegExp(content: JsonObject, server: string): boolean {
  const host = server.replace(/:[0-9]+$/, '');
  if (content.allow_ip_literals === false && /^(\[.*\]|[0-9.]+)$/.test(host)) return false;
  const matches = (list: Json | undefined) =>
    Array.isArray(list) && list.some((glob) => typeof glob === 'string' && regExpOf(glob).test(host));
  return !matches(content.deny) && matches(content.allow);
}

function acl(maker: Maker) {
  const glob = (): Json =>
    maker.percent(10) ? maker.json(1) : maker.percent(40) ? maker.of(HOSTS) : maker.text(PIECES, 6);
  const list = (): Json => (maker.percent(5) ? maker.json(1) : maker.list(5, glob));
  const content: JsonObject = {
    allow: maker.percent(40) ? ['*'] : list(),
    deny: list(),
    ...(maker.percent(50)
      ? { allow_ip_literals: maker.percent(80) ? maker.percent(50) : maker.json(0) }
      : {}),
  };
  return { content, server: maker.of(HOSTS) + maker.of(['', '', ':1', ':8448']) };
}

export const properties = [
  property(
    'an ACL allows what regular expressions made of its globs allow',
    made(acl),
    ({ content, server }) => {
      const allows = compileServerAcl(content);
      same(allows(server), allowedByRegExp(content, server), JSON.stringify([content, server]));
      same(allows(server), allows(server.toUpperCase()), 'in capitals');
    },
  ),
  property(
    'a glob matches as its regular expression does',
    made((maker) => [maker.text(['*', '?', 'a', 'b'], 7), maker.text(['a', 'b', '.'], 10)] as const),
    ([glob, text]) => same(matchesGlob(glob, text), regExpOf(glob).test(text), `${glob} on ${text}`),
  ),
];
