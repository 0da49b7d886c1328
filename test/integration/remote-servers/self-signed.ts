import { generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { isIP } from 'node:net';

export interface Identity {
  /** PEM. */
  readonly cert: string;
  readonly key: string;
}

/** A certificate for a DNS name that is signed by nobody but itself (X.509 v3, ECDSA P-256). */
export function selfSigned(name: string, validFrom: Date, validTo: Date): Identity {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const self = named(name);
  const extensions = [alternativeNames([name])];
  const body = toBeSigned({ issuer: self, subject: self, validFrom, validTo, publicKey, extensions });
  return { cert: certificate(body, privateKey), key: pem(privateKey) };
}

/** A certificate authority of its own, which signs for whatever names (and IPv4 addresses) it is told. */
export class TestAuthority {
  readonly #keys = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  readonly #name = named('an authority of these tests');
  readonly #valid = {
    validFrom: new Date(Date.now() - DAY_MS),
    validTo: new Date(Date.now() + DAY_MS),
  };
  /** PEM. */
  readonly certificate: string;

  constructor() {
    const { publicKey, privateKey } = this.#keys;
    const extensions = [extension(BASIC_CONSTRAINTS, sequence(der(BOOLEAN, Buffer.from([0xff]))))];
    const ends = { issuer: this.#name, subject: this.#name, ...this.#valid };
    this.certificate = certificate(toBeSigned({ ...ends, publicKey, extensions }), privateKey);
  }

  issue(...names: string[]): Identity {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const ends = { issuer: this.#name, subject: named(names[0] ?? ''), ...this.#valid };
    const body = toBeSigned({ ...ends, publicKey, extensions: [alternativeNames(names)] });
    return { cert: certificate(body, this.#keys.privateKey), key: pem(privateKey) };
  }
}

const DAY_MS = 24 * 60 * 60_000;

// Tags and object identifiers of DER (X.690, RFC 5280).
const BOOLEAN = 0x01;
const INTEGER = 0x02;
const BIT_STRING = 0x03;
const OCTET_STRING = 0x04;
const OBJECT_ID = 0x06;
const UTF8_STRING = 0x0c;
const UTC_TIME = 0x17;
const SEQUENCE = 0x30;
const SET = 0x31;
const DNS_NAME = 0x82;
const IP_ADDRESS = 0x87;
const CONTEXT_CONSTRUCTED_0 = 0xa0;
const CONTEXT_CONSTRUCTED_3 = 0xa3;
const COMMON_NAME = '550403';
const SUBJECT_ALT_NAME = '551d11';
const BASIC_CONSTRAINTS = '551d13';
const ECDSA_WITH_SHA256 = '2a8648ce3d040302';

interface Content {
  readonly issuer: Buffer;
  readonly subject: Buffer;
  readonly validFrom: Date;
  readonly validTo: Date;
  readonly publicKey: KeyObject;
  readonly extensions: Buffer[];
}

function toBeSigned({ issuer, subject, validFrom, validTo, publicKey, extensions }: Content): Buffer {
  return sequence(
    der(CONTEXT_CONSTRUCTED_0, der(INTEGER, Buffer.from([2]))),
    der(INTEGER, Buffer.concat([Buffer.from([1]), randomBytes(8)])),
    sequence(oid(ECDSA_WITH_SHA256)),
    issuer,
    sequence(time(validFrom), time(validTo)),
    subject,
    publicKey.export({ format: 'der', type: 'spki' }),
    der(CONTEXT_CONSTRUCTED_3, sequence(...extensions)),
  );
}

function certificate(body: Buffer, key: KeyObject): string {
  const signature = Buffer.concat([Buffer.from([0]), sign('sha256', body, key)]);
  const signed = sequence(body, sequence(oid(ECDSA_WITH_SHA256)), der(BIT_STRING, signature));
  const lines = signed.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
}

function pem(key: KeyObject): string {
  return key.export({ format: 'pem', type: 'pkcs8' }).toString();
}

function named(name: string): Buffer {
  return sequence(set(sequence(oid(COMMON_NAME), der(UTF8_STRING, Buffer.from(name)))));
}

function alternativeNames(names: readonly string[]): Buffer {
  const entries = names.map((name) =>
    isIP(name) === 4
      ? der(IP_ADDRESS, Buffer.from(name.split('.').map(Number)))
      : der(DNS_NAME, Buffer.from(name)),
  );
  return extension(SUBJECT_ALT_NAME, sequence(...entries));
}

function extension(id: string, value: Buffer): Buffer {
  return sequence(oid(id), der(OCTET_STRING, value));
}

function der(tag: number, content: Buffer): Buffer {
  const { length } = content;
  if (length < 0x80) return Buffer.concat([Buffer.from([tag, length]), content]);
  const bytes = length < 0x100 ? [length] : [length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, 0x80 | bytes.length, ...bytes]), content]);
}

function sequence(...parts: Buffer[]): Buffer {
  return der(SEQUENCE, Buffer.concat(parts));
}

function set(part: Buffer): Buffer {
  return der(SET, part);
}

function oid(hex: string): Buffer {
  return der(OBJECT_ID, Buffer.from(hex, 'hex'));
}

function time(date: Date): Buffer {
  const digits = date.toISOString().replace(/\D/g, '');
  return der(UTC_TIME, Buffer.from(`${digits.slice(2, 14)}Z`));
}
