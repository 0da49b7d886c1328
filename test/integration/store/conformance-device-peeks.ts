import { describe, expect, test } from 'vitest';
import { isPreview, previewDevice } from '../../../src/device-peeks/preview-devices.ts';
import { InstanceTakenError } from '../../../src/store/instance-taken-error.ts';
import { type Given, noticesOf } from './given.ts';
import { devicePeek, ODD_STRINGS, ROOM } from './samples.ts';

const ENDED = { at: 5000, reason: 'unpeek', position: 42 } as const;

export function devicePeekConformance(given: Given): void {
  const peeks = () => given.store.devicePeeks;
  const { userId, deviceId } = devicePeek();

  describe('device peeks', () => {
    test('a peek comes back as it was added', async () => {
      const peek = devicePeek({ initial: { from: 3, to: 9 }, dormantSince: 5, delivered: true });
      expect(await peeks().add(peek, 5)).toEqual({ peek, created: true });
      expect(await peeks().ofDevice(userId, deviceId)).toEqual([peek]);
      expect(await peeks().ofRoom(ROOM)).toEqual([peek]);
      expect(await peeks().all()).toEqual([peek]);
      expect(await peeks().devices()).toEqual([{ userId, deviceId }]);
      expect(await given.store.size()).toBe(1);
    });

    test('adding a live peek again touches it and wakes it up', async () => {
      await peeks().add(devicePeek({ dormantSince: 1500 }), 1);
      const again = await peeks().add(devicePeek({ instance: 2, seenAt: 2000, createdAt: 2000 }), 1);
      expect(again).toEqual({ peek: devicePeek({ seenAt: 2000 }), created: false });
      expect(await peeks().ofDevice(userId, deviceId)).toEqual([devicePeek({ seenAt: 2000 })]);
    });

    test('a device holds no more live peeks than its limit; tombstones do not count', async () => {
      await peeks().add(devicePeek({ roomId: '!1' }), 2);
      await peeks().add(devicePeek({ roomId: '!2', instance: 2 }), 2);
      expect(await peeks().add(devicePeek({ roomId: '!3', instance: 3 }), 2)).toBe('full');
      expect(await peeks().add(devicePeek({ roomId: '!3', deviceId: '' }), 2)).toMatchObject({
        created: true,
      });
      await peeks().end(devicePeek(), ENDED);
      expect(await peeks().add(devicePeek({ roomId: '!3', instance: 3 }), 2)).toMatchObject({
        created: true,
      });
    });

    test('of many added at once no more than the limit are taken', async () => {
      const added = await Promise.all(
        Array.from({ length: 40 }, (_, n) =>
          peeks().add(devicePeek({ roomId: `!${n}`, instance: n + 1 }), 7),
        ),
      );
      expect(added.filter((one) => one !== 'full')).toHaveLength(7);
      expect(await peeks().ofDevice(userId, deviceId)).toHaveLength(7);
    });

    test('of many added at once on one room one is created', async () => {
      const added = await Promise.all(
        Array.from({ length: 20 }, (_, n) => peeks().add(devicePeek({ instance: n + 1 }), 7)),
      );
      expect(added.filter((one) => one !== 'full' && one.created)).toHaveLength(1);
      expect(await peeks().ofRoom(ROOM)).toHaveLength(1);
    });

    test('an instance number is not given twice', async () => {
      await peeks().add(devicePeek(), 5);
      await expect(peeks().add(devicePeek({ roomId: '!other' }), 5)).rejects.toThrow(InstanceTakenError);
      expect(await peeks().ofRoom('!other')).toEqual([]);
    });

    test('peeks of a device come by instance', async () => {
      for (const instance of [10, 9, 100]) {
        await peeks().add(devicePeek({ instance, roomId: `!${instance}` }), 5);
      }
      const found = await peeks().ofDevice(userId, deviceId);
      expect(found.map((peek) => peek.instance)).toEqual([9, 10, 100]);
    });

    test('a peek is changed field by field, and only while it is there', async () => {
      await peeks().add(devicePeek(), 5);
      await peeks().update(devicePeek(), { seenAt: 2000, initial: { from: 1, to: 2 }, delivered: true });
      await peeks().update(devicePeek(), { dormantSince: 3000, initial: null });
      const changed = devicePeek({ seenAt: 2000, delivered: true, dormantSince: 3000 });
      expect(await peeks().ofDevice(userId, deviceId)).toEqual([changed]);
      await peeks().update(devicePeek(), { dormantSince: null, delivered: false });
      expect(await peeks().ofDevice(userId, deviceId)).toEqual([devicePeek({ seenAt: 2000 })]);
      await peeks().update(devicePeek({ instance: 2 }), { seenAt: 1 });
      expect(await peeks().all()).toHaveLength(1);
    });

    test('a peek falls asleep once, and not when its device was seen meanwhile', async () => {
      await peeks().add(devicePeek(), 5);
      await peeks().update(devicePeek(), { seenAt: 2000 });
      expect(await peeks().sleep(devicePeek(), 9000)).toBe(false);
      expect(await peeks().ofDevice(userId, deviceId)).toEqual([devicePeek({ seenAt: 2000 })]);
      expect(await peeks().sleep(devicePeek({ seenAt: 2000 }), 9000)).toBe(true);
      const asleep = devicePeek({ seenAt: 2000, dormantSince: 9000 });
      expect(await peeks().ofRoom(ROOM)).toEqual([asleep]);
      await peeks().update(asleep, { seenAt: 9500, dormantSince: null });
      expect(await peeks().sleep(asleep, 9600)).toBe(false);
      expect(await peeks().ofRoom(ROOM)).toEqual([devicePeek({ seenAt: 9500 })]);
    });

    test('what has ended, and what is not there, does not fall asleep', async () => {
      await peeks().add(devicePeek(), 5);
      await peeks().end(devicePeek(), ENDED);
      expect(await peeks().sleep(devicePeek(), 9000)).toBe(false);
      expect(await peeks().ofDevice(userId, deviceId)).toEqual([devicePeek({ ended: ENDED })]);
      expect(await peeks().sleep(devicePeek({ instance: 2 }), 9000)).toBe(false);
      expect(await peeks().all()).toHaveLength(1);
    });

    test('ending leaves a tombstone, once', async () => {
      await peeks().add(devicePeek(), 5);
      expect(await peeks().end(devicePeek(), ENDED)).toBe(true);
      expect(await peeks().end(devicePeek(), { ...ENDED, reason: 'expired' })).toBe(false);
      expect(await peeks().end(devicePeek({ instance: 2 }), ENDED)).toBe(false);
      expect(await peeks().ofDevice(userId, deviceId)).toEqual([devicePeek({ ended: ENDED })]);
      expect(await peeks().ofRoom(ROOM)).toEqual([]);
      expect(await peeks().devices()).toHaveLength(1);
      await peeks().update(devicePeek(), { delivered: true });
      expect(await peeks().all()).toEqual([devicePeek({ ended: ENDED, delivered: true })]);
    });

    test('after an unpeek the room may be peeked again', async () => {
      await peeks().add(devicePeek(), 5);
      await peeks().end(devicePeek(), ENDED);
      expect(await peeks().add(devicePeek({ instance: 2 }), 5)).toMatchObject({ created: true });
      expect(await peeks().ofRoom(ROOM)).toEqual([devicePeek({ instance: 2 })]);
      await peeks().remove(devicePeek());
      expect(await peeks().ofRoom(ROOM)).toEqual([devicePeek({ instance: 2 })]);
    });

    test('what is removed leaves nothing', async () => {
      await peeks().add(devicePeek(), 5);
      await peeks().add(devicePeek({ instance: 2, roomId: '!b' }), 5);
      await peeks().end(devicePeek(), ENDED);
      await peeks().remove(devicePeek());
      await peeks().remove(devicePeek());
      expect(await peeks().all()).toEqual([devicePeek({ instance: 2, roomId: '!b' })]);
      await peeks().remove(devicePeek({ instance: 2 }));
      expect(await peeks().all()).toEqual([]);
      expect(await peeks().devices()).toEqual([]);
      expect(await given.store.size()).toBe(0);
    });

    test('adding, ending and removing give notice of the device', async () => {
      const notice = { kind: 'device', userId, deviceId };
      expect(await noticesOf(given.store, () => peeks().add(devicePeek(), 5))).toEqual([notice]);
      expect(await noticesOf(given.store, () => peeks().end(devicePeek(), ENDED))).toEqual([notice]);
      expect(await noticesOf(given.store, () => peeks().remove(devicePeek()))).toEqual([notice]);
      expect(await noticesOf(given.store, () => peeks().remove(devicePeek()))).toEqual([]);
    });

    test('a preview is kept beside a peek of the same device', async () => {
      const preview = { ...devicePeek(), ...previewDevice({ userId, deviceId }) };
      await peeks().add(devicePeek(), 5);
      expect(await peeks().add(preview, 5)).toEqual({ peek: preview, created: true });
      expect(await peeks().ofDevice(userId, deviceId)).toEqual([devicePeek()]);
      expect(await peeks().ofDevice(userId, preview.deviceId)).toEqual([preview]);
      expect(await peeks().ofRoom(ROOM)).toHaveLength(2);
      expect((await peeks().devices()).filter(isPreview)).toEqual([{ userId, deviceId: preview.deviceId }]);
      const notice = { kind: 'device', userId, deviceId: preview.deviceId };
      expect(await noticesOf(given.store, () => peeks().remove(preview))).toEqual([notice]);
      expect(await peeks().all()).toEqual([devicePeek()]);
    });

    test('users, devices and rooms may be named anything', async () => {
      for (const odd of ODD_STRINGS) {
        await peeks().add(devicePeek({ userId: odd, deviceId: odd, roomId: odd }), 5);
        await peeks().add(devicePeek({ userId: odd, deviceId: '', roomId: odd }), 5);
      }
      for (const odd of ODD_STRINGS) {
        const peek = devicePeek({ userId: odd, deviceId: odd, roomId: odd });
        expect(await peeks().ofDevice(odd, odd)).toEqual([peek]);
        expect(await peeks().ofRoom(odd)).toHaveLength(2);
        expect(await peeks().end(peek, ENDED)).toBe(true);
        await peeks().remove(peek);
        await peeks().remove({ ...peek, deviceId: '' });
      }
      expect(await given.store.size()).toBe(0);
    });
  });
}
