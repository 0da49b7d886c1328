import type { DevicePeek } from '../store.ts';

/** A peek's fields in its device's hash, where each stands as `<instance> <field>`. A field that is null is left out. */
export const PEEK_FIELDS = [
  'roomId',
  'createdAt',
  'seenAt',
  'dormantSince',
  'initial',
  'delivered',
  'ended',
] as const;

type Changes = Partial<Omit<DevicePeek, 'userId' | 'deviceId' | 'instance'>>;

/** What is to be set (`field, value, …`) and what is to be deleted. */
export function encodePeek(changes: Changes): { set: string[]; cleared: string[] } {
  const set: string[] = [];
  const cleared: string[] = [];
  for (const field of PEEK_FIELDS) {
    const value = changes[field];
    if (value === null) cleared.push(field);
    else if (value !== undefined) set.push(field, field === 'roomId' ? String(value) : JSON.stringify(value));
  }
  return { set, cleared };
}

/** The peeks of a device's hash, by instance. */
export function decodePeeks(userId: string, deviceId: string, hash: Map<string, string>): DevicePeek[] {
  const instances = [...hash.keys()]
    .filter((key) => key.endsWith(' roomId'))
    .map((key) => Number.parseInt(key, 10));
  instances.sort((a, b) => a - b);
  return instances.map((instance) => {
    const text = (field: (typeof PEEK_FIELDS)[number]) => hash.get(`${instance} ${field}`);
    const value = (field: (typeof PEEK_FIELDS)[number]): unknown => JSON.parse(text(field) ?? 'null');
    return {
      userId,
      deviceId,
      roomId: text('roomId') ?? '',
      instance,
      createdAt: value('createdAt') as number,
      seenAt: value('seenAt') as number,
      dormantSince: value('dormantSince') as number | null,
      initial: value('initial') as DevicePeek['initial'],
      delivered: value('delivered') === true,
      ended: value('ended') as DevicePeek['ended'],
    };
  });
}
