import { createSocket } from 'node:dgram';

/** What is known of one name. A CNAME is followed, as a resolver that recurses does. */
export interface DnsRecords {
  readonly a?: readonly string[];
  readonly aaaa?: readonly string[];
  readonly cname?: string;
  readonly srv?: readonly {
    readonly target: string;
    readonly port: number;
    readonly priority?: number;
    readonly weight?: number;
  }[];
  /** Instead of an answer: an error, or nothing at all. */
  readonly fails?: 'SERVFAIL' | 'silent';
}

export interface DnsServer {
  /** `127.0.0.1:PORT`. */
  readonly address: string;
  /** Names in lower case, without the last dot. One that is not here does not exist. */
  readonly names: Map<string, DnsRecords>;
  /** `A example.org`, in the order in which they came. */
  readonly asked: string[];
  close(): Promise<void>;
}

const TYPES = { A: 1, CNAME: 5, AAAA: 28, SRV: 33 } as const;
const RCODE_SERVFAIL = 2;
const RCODE_NXDOMAIN = 3;

/** A name server on a loopback port, over UDP (RFC 1035, RFC 2782), whose records the test changes as it likes. */
export async function startDnsServer(): Promise<DnsServer> {
  const names = new Map<string, DnsRecords>();
  const asked: string[] = [];
  const socket = createSocket('udp4');
  socket.on('message', (query, from) => {
    const question = readQuestion(query);
    const kind = Object.entries(TYPES).find(([, type]) => type === question.type)?.[0];
    asked.push(`${kind ?? question.type} ${question.name}`);
    const answer = answerTo(names, question);
    if (answer !== null) socket.send(message(query, question, answer), from.port, from.address);
  });
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
  return {
    address: `127.0.0.1:${socket.address().port}`,
    names,
    asked,
    close: () => new Promise((resolve) => socket.close(() => resolve())),
  };
}

interface Question {
  readonly name: string;
  readonly type: number;
  /** Where it ends within the message. */
  readonly end: number;
}

interface Answer {
  readonly rcode: number;
  readonly records: Buffer[];
}

function readQuestion(query: Buffer): Question {
  const labels: string[] = [];
  let at = 12;
  for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
    labels.push(query.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  return { name: labels.join('.').toLowerCase(), type: query.readUInt16BE(at + 1), end: at + 5 };
}

function answerTo(names: Map<string, DnsRecords>, { name, type }: Question): Answer | null {
  const records: Buffer[] = [];
  let owner = name;
  for (let hops = 0; hops < 10; hops++) {
    const known = names.get(owner);
    if (known?.fails === 'silent') return null;
    if (known?.fails === 'SERVFAIL') return { rcode: RCODE_SERVFAIL, records: [] };
    if (known === undefined) return { rcode: RCODE_NXDOMAIN, records };
    if (known.cname === undefined)
      return { rcode: 0, records: [...records, ...recordsOf(owner, known, type)] };
    records.push(record(owner, TYPES.CNAME, encodedName(known.cname)));
    owner = known.cname;
  }
  return { rcode: RCODE_SERVFAIL, records: [] };
}

function recordsOf(name: string, { a, aaaa, srv }: DnsRecords, type: number): Buffer[] {
  if (type === TYPES.A) return (a ?? []).map((address) => record(name, type, ipv4(address)));
  if (type === TYPES.AAAA) return (aaaa ?? []).map((address) => record(name, type, ipv6(address)));
  if (type !== TYPES.SRV) return [];
  return (srv ?? []).map(({ target, port, priority = 0, weight = 0 }) => {
    const numbers = Buffer.alloc(6);
    numbers.writeUInt16BE(priority, 0);
    numbers.writeUInt16BE(weight, 2);
    numbers.writeUInt16BE(port, 4);
    return record(name, type, Buffer.concat([numbers, encodedName(target)]));
  });
}

/** A time to live of zero: nothing between us and the test keeps it. */
function record(name: string, type: number, data: Buffer): Buffer {
  const head = Buffer.alloc(10);
  head.writeUInt16BE(type, 0);
  head.writeUInt16BE(1, 2);
  head.writeUInt16BE(data.length, 8);
  return Buffer.concat([encodedName(name), head, data]);
}

function message(query: Buffer, { end }: Question, { rcode, records }: Answer): Buffer {
  const head = Buffer.alloc(12);
  query.copy(head, 0, 0, 2);
  // An answer; recursion was wanted and is there.
  head.writeUInt16BE(0x8180 | rcode, 2);
  head.writeUInt16BE(1, 4);
  head.writeUInt16BE(records.length, 6);
  return Buffer.concat([head, query.subarray(12, end), ...records]);
}

function encodedName(name: string): Buffer {
  const labels = name === '' ? [] : name.split('.');
  const parts = labels.flatMap((label) => [Buffer.from([label.length]), Buffer.from(label, 'latin1')]);
  return Buffer.concat([...parts, Buffer.from([0])]);
}

function ipv4(address: string): Buffer {
  return Buffer.from(address.split('.').map(Number));
}

function ipv6(address: string): Buffer {
  const [head = '', tail] = address.split('::');
  const groups = (text: string | undefined) => (text === undefined || text === '' ? [] : text.split(':'));
  const missing = 8 - groups(head).length - groups(tail).length;
  const all = [
    ...groups(head),
    ...Array<string>(tail === undefined ? 0 : missing).fill('0'),
    ...groups(tail),
  ];
  const bytes = Buffer.alloc(16);
  for (const [i, group] of all.entries()) bytes.writeUInt16BE(Number.parseInt(group, 16), 2 * i);
  return bytes;
}
