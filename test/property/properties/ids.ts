import {
  isHashRoomId,
  isRoomAlias,
  isRoomId,
  isServerName,
  isUserId,
  parseServerName,
  serverNameOf,
} from '../../../src/matrix/ids.ts';
import { type Maker, made } from '../made.ts';
import { property, same } from '../property.ts';

const PIECES = [
  ...[
    'a',
    'Z',
    '0',
    '1',
    '9',
    '25',
    '255',
    '256',
    '999',
    '.',
    '-',
    ':',
    '::',
    '[',
    ']',
    '8448',
    '65535',
    '65536',
  ],
  ...[
    'example.org',
    '1.2.3.4',
    '01.2.3.4',
    '1.2.3',
    '::1',
    '[::1]',
    '[::ffff:1.2.3.4]',
    '[1::2::3]',
    '_',
    '%',
    ' ',
  ],
  ...['ä', '😀', '\u0000', '\ud800', '/', '@', '!', '#', '$'],
];

/**
 * Server names by the grammar of the specification, with a platform that knows addresses as the judge of
 * literals: the WHATWG URL parser for IPv6, arithmetic for IPv4.
 */
function serverNameByGrammar(name: string): { host: string; port: number | null } | null {
  const [, host, , port] = /^(\[[0-9A-Fa-f:.]+\]|[^:[\]]+)(:([0-9]{1,5}))?$/.exec(name) ?? [];
  if (host === undefined || name.length > 255) return null;
  if (port !== undefined && Number(port) > 65_535) return null;
  const found = { host, port: port === undefined ? null : Number(port) };
  if (host.startsWith('[')) return URL.canParse(`http://${host}/`) ? found : null;
  if (!/^[A-Za-z0-9.-]+$/.test(host)) return null;
  const quad = host.split('.');
  if (quad.length === 4 && quad.every((part) => /^[0-9]{1,3}$/.test(part))) {
    return quad.every((part) => String(Number(part)) === part && Number(part) < 256) ? found : null;
  }
  return found;
}

function identifierByGrammar(id: string, sigil: string, leastLocalpart: number): boolean {
  if (!id.startsWith(sigil) || id.includes('\u0000') || /[\ud800-\udfff]/u.test(id)) return false;
  if (new TextEncoder().encode(id).length > 255) return false;
  const [localpart = '', ...rest] = id.slice(1).split(':');
  return (
    rest.length > 0 && localpart.length >= leastLocalpart && serverNameByGrammar(rest.join(':')) !== null
  );
}

function identifier(maker: Maker): string {
  const domain = maker.percent(60)
    ? maker.of(['a', 'example.org:8448', '1.2.3.4', '[::1]'])
    : maker.text(PIECES, 4);
  const local = maker.percent(5) ? 'ä'.repeat(118 + maker.below(12)) : maker.text(PIECES, 4);
  return `${maker.of(['@', '!', '#', '$', ''])}${local}${maker.of([':', ':', ':', ''])}${domain}`;
}

export const properties = [
  property(
    'a server name is one by the grammar',
    made((maker) => maker.text(PIECES, 6)),
    (name) => {
      const ours = parseServerName(name);
      const theirs = serverNameByGrammar(name);
      same(JSON.stringify(ours), JSON.stringify(theirs), name);
      same(isServerName(name), theirs !== null, name);
    },
  ),
  property('user IDs, room IDs and aliases are what the grammar says', made(identifier), (id) => {
    same(isUserId(id), identifierByGrammar(id, '@', 0), id);
    same(isRoomAlias(id), identifierByGrammar(id, '#', 1), id);
    same(isRoomId(id), identifierByGrammar(id, '!', 1) || isHashRoomId(id), id);
    const server = serverNameOf(id);
    if (server !== null) same(id.endsWith(`:${server}`), true, id);
  }),
];
