import { InstanceTakenError } from '../instance-taken-error.ts';
import type { DevicePeek, DevicePeekStore } from '../store.ts';
import type { RedisConnection } from './connection.ts';
import { decodePeeks, encodePeek, PEEK_FIELDS } from './device-peek-fields.ts';
import type { Index, IndexEntry, Indexes } from './indexes.ts';
import { deviceKeys, indexKey, roomKeys } from './keys.ts';
import type { RedisNotices } from './redis-notices.ts';
import { asHash, asList, mapBounded } from './replies.ts';
import { scripts } from './scripts.ts';

type PeekName = Pick<DevicePeek, 'userId' | 'deviceId' | 'instance'>;
type Device = Pick<DevicePeek, 'userId' | 'deviceId'>;

export class RedisDevicePeeks implements DevicePeekStore {
  readonly #redis: RedisConnection;
  readonly #indexes: Indexes;
  readonly #notices: RedisNotices;
  /** Devices that have a peek or a tombstone. */
  readonly #devices: Index;
  /** Each room's devices that have a live peek on it. */
  readonly #readers: Index;

  constructor(redis: RedisConnection, indexes: Indexes, notices: RedisNotices) {
    this.#redis = redis;
    this.#indexes = indexes;
    this.#notices = notices;
    this.#devices = indexes.register({
      name: 'devices',
      key: () => indexKey('devices'),
      holds: async (_scope, member) => Number(await redis.call('EXISTS', keysOf(member).peeks)) > 0,
    });
    this.#readers = indexes.register({
      name: 'readers',
      key: (roomId) => roomKeys(roomId).readers,
      holds: async (roomId, member) => Number(await redis.call('HEXISTS', keysOf(member).live, roomId)) > 0,
    });
  }

  async add(peek: DevicePeek, limit: number): Promise<{ peek: DevicePeek; created: boolean } | 'full'> {
    const { userId, deviceId, roomId, instance } = peek;
    const { peeks, live } = deviceKeys(userId, deviceId);
    const values = [roomId, instance, limit, peek.seenAt, ...encodePeek(peek).set];
    const entries = [this.#deviceEntry(peek), this.#readerEntry(peek, roomId)];
    const reply = await this.#indexes.adding(entries, () =>
      this.#redis.run(scripts.devicePeekAdd, [peeks, live], values),
    );
    const [outcome, held, hash] = asList(reply);
    if (outcome === 'full') return 'full';
    const stored = decodePeeks(userId, deviceId, asHash(hash)).find((one) => one.instance === Number(held));
    if (outcome === 'taken' || stored === undefined) throw new InstanceTakenError(instance);
    this.#notify(peek);
    return { peek: stored, created: outcome === 'created' };
  }

  async ofDevice(userId: string, deviceId: string): Promise<DevicePeek[]> {
    const { peeks } = deviceKeys(userId, deviceId);
    return decodePeeks(userId, deviceId, asHash(await this.#redis.call('HGETALL', peeks)));
  }

  async ofRoom(roomId: string): Promise<DevicePeek[]> {
    const members = await this.#indexes.members(this.#readers, roomId);
    const peeks = await this.#ofMembers(members);
    return peeks.filter((peek) => peek.roomId === roomId && peek.ended === null);
  }

  async devices(): Promise<{ userId: string; deviceId: string }[]> {
    const members = await this.#indexes.members(this.#devices);
    const held = await mapBounded(members, (member) => this.#devices.holds('', member));
    return members.filter((_, index) => held[index]).map(toDevice);
  }

  async all(): Promise<DevicePeek[]> {
    return this.#ofMembers(await this.#indexes.members(this.#devices));
  }

  async update(
    peek: PeekName,
    change: Partial<Pick<DevicePeek, 'seenAt' | 'dormantSince' | 'initial' | 'delivered'>>,
  ): Promise<void> {
    const { set, cleared } = encodePeek(change);
    const name = (field: string) => `${peek.instance} ${field}`;
    const named = set.map((text, index) => (index % 2 === 0 ? name(text) : text));
    const values = [name('roomId'), '', named.length, ...named, ...cleared.map(name)];
    await this.#redis.run(scripts.hashChange, [deviceKeys(peek.userId, peek.deviceId).peeks], values);
  }

  async sleep(
    { userId, deviceId, roomId, instance, seenAt }: PeekName & Pick<DevicePeek, 'roomId' | 'seenAt'>,
    dormantSince: number,
  ): Promise<boolean> {
    const { peeks, live } = deviceKeys(userId, deviceId);
    const values = [roomId, instance, JSON.stringify(seenAt), JSON.stringify(dormantSince)];
    return Number(await this.#redis.run(scripts.devicePeekSleep, [peeks, live], values)) === 1;
  }

  async end(peek: PeekName, ended: NonNullable<DevicePeek['ended']>): Promise<boolean> {
    const roomId = await this.#roomOf(peek);
    if (roomId === null) return false;
    await this.#indexes.removing([this.#readerEntry(peek, roomId)]);
    const { peeks, live } = deviceKeys(peek.userId, peek.deviceId);
    const values = [roomId, peek.instance, JSON.stringify(ended)];
    const done = Number(await this.#redis.run(scripts.devicePeekEnd, [peeks, live], values)) === 1;
    if (done) this.#notify(peek);
    return done;
  }

  async remove(peek: PeekName): Promise<void> {
    const roomId = await this.#roomOf(peek);
    if (roomId === null) return;
    await this.#indexes.removing([this.#readerEntry(peek, roomId), this.#deviceEntry(peek)]);
    const { peeks, live } = deviceKeys(peek.userId, peek.deviceId);
    const values = [roomId, peek.instance, ...PEEK_FIELDS];
    const removed = await this.#redis.run(scripts.devicePeekRemove, [peeks, live], values);
    if (Number(removed) === 1) this.#notify(peek);
  }

  /** An instance is of one room for good, so that it can be looked up beforehand. */
  async #roomOf({ userId, deviceId, instance }: PeekName): Promise<string | null> {
    const found = await this.#redis.call('HGET', deviceKeys(userId, deviceId).peeks, `${instance} roomId`);
    return typeof found === 'string' ? found : null;
  }

  async #ofMembers(members: readonly string[]): Promise<DevicePeek[]> {
    const devices = members.map(toDevice);
    return (await mapBounded(devices, ({ userId, deviceId }) => this.ofDevice(userId, deviceId))).flat();
  }

  #deviceEntry(device: Device): IndexEntry {
    return { index: this.#devices, scope: '', member: toMember(device) };
  }

  #readerEntry(device: Device, roomId: string): IndexEntry {
    return { index: this.#readers, scope: roomId, member: toMember(device) };
  }

  #notify({ userId, deviceId }: Device): void {
    this.#notices.emit({ kind: 'device', userId, deviceId });
  }
}

function toMember({ userId, deviceId }: Device): string {
  return JSON.stringify([userId, deviceId]);
}

function toDevice(member: string): Device {
  const [userId = '', deviceId = ''] = JSON.parse(member) as string[];
  return { userId, deviceId };
}

function keysOf(member: string) {
  const { userId, deviceId } = toDevice(member);
  return deviceKeys(userId, deviceId);
}
