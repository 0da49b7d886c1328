import { isServerName } from '../../../src/matrix/ids.ts';
import { parseXMatrix, XMatrixError } from '../../../src/matrix/x-matrix.ts';
import { type Maker, made } from '../made.ts';
import { orError, property, same } from '../property.ts';

const SERVERS = [
  'a',
  'example.org',
  'a.b-c.d:8448',
  '1.2.3.4',
  '1.2.3.4:1',
  '[::1]',
  '[2001:db8::1]:8448',
  'A.Org',
];
const UNKNOWN = ['x', 'origin2', 'sigs', 'realm', '!#$%&', 'destinatio'];
const SIGNATURES = Array.from({ length: 64 }, (_, i) =>
  Buffer.alloc(64, i * 4 + 3)
    .toString('base64')
    .replace(/=+$/, ''),
);
const BLANKS = ['', ' ', '\t', '  '];

/** A header as RFC 9110 lets one write it: any order and case, quoted or not, with blanks and unknown parameters. */
function header(maker: Maker) {
  const fields = {
    origin: maker.of(SERVERS),
    destination: maker.percent(80) ? maker.of(SERVERS) : null,
    key: `ed25519:${maker.text(['a', 'B', '1', '_'], 8)}`,
    sig: maker.of(SIGNATURES),
  };
  const parameters = Object.entries(fields).filter((entry): entry is [string, string] => entry[1] !== null);
  if (maker.percent(40)) parameters.push([maker.of(UNKNOWN), maker.text(['a', ' ', '"', '\\', ',', '='], 6)]);
  const shuffled = parameters.map((entry) => [maker.below(1000), entry] as const).sort(([a], [b]) => a - b);
  const written = shuffled.map(([, [name, value]]) => {
    const blank = () => maker.of(BLANKS);
    return `${cased(maker, name)}${blank()}=${blank()}${quotedOrNot(maker, value)}`;
  });
  const commas = () => `${maker.of(BLANKS)},${maker.percent(10) ? ' ,' : ''}${maker.of(BLANKS)}`;
  const text = `${cased(maker, 'X-Matrix')} ${written.reduce((all, next) => all + commas() + next)}`;
  return { text, fields };
}

function cased(maker: Maker, name: string): string {
  return maker.percent(70) ? name : [...name].map((c) => (maker.percent(50) ? c.toUpperCase() : c)).join('');
}

function quotedOrNot(maker: Maker, value: string): string {
  if (value !== '' && /^[^\s",\\]+$/.test(value) && maker.percent(40)) return value;
  const masked = (c: string) => (c === '"' || c === '\\' || maker.percent(5) ? `\\${c}` : c);
  return `"${[...value].map(masked).join('')}"`;
}

const PIECES = [
  ...[
    'X-Matrix',
    'x-matrix ',
    'Bearer ',
    'origin',
    'destination',
    'key',
    'sig',
    '=',
    '="',
    '"',
    '\\',
    ',',
    ' ',
    '\t',
  ],
  ...[
    'a.org',
    'ed25519:1',
    'A'.repeat(86),
    '\u0000',
    'ä',
    '[::1]',
    '%',
    'origin="a.org"',
    ',key="ed25519:a"',
    ',',
  ],
];

function hostile(maker: Maker): string {
  if (maker.percent(50)) return maker.text(PIECES, 30);
  const { text } = header(maker);
  const at = maker.below(text.length);
  const cut = maker.percent(50) ? maker.below(4) : 0;
  return text.slice(0, at) + maker.text(PIECES, 2) + text.slice(at + cut);
}

export const properties = [
  property(
    'an X-Matrix header in any of its forms is read as it was meant',
    made(header),
    ({ text, fields }) => {
      const read = parseXMatrix(text);
      for (const [name, value] of Object.entries(fields)) {
        same(read?.[name as keyof typeof fields], value, name);
      }
    },
  ),
  property(
    'a hostile X-Matrix header ⇒ read in one way, of another scheme, or XMatrixError',
    made(hostile),
    (text) => {
      const read = orError(() => parseXMatrix(text), XMatrixError);
      if (read === null || read instanceof Error) return;
      if (!isServerName(read.origin)) throw new Error('the origin is no server name');
      if (read.destination !== null && !isServerName(read.destination))
        throw new Error('the destination is none');
      same(Buffer.from(read.sig, 'base64').length, 64, 'the length of the signature');
      same(read.key.startsWith('ed25519:'), true, 'the key');
    },
  ),
];
