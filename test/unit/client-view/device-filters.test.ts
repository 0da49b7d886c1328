import { expect, test } from 'vitest';
import { DeviceFilters } from '../../../src/client-view/device-filters.ts';
import { NO_FILTER } from '../../../src/client-view/filter.ts';
import { HomeserverDown, HomeserverRefusal } from '../../../src/homeserver/homeserver.ts';
import { ALICE } from '../../support/peeking-house.ts';
import { RoomHomeserver } from '../../support/room-homeserver.ts';

class Homeserver extends RoomHomeserver {
  override readonly mostTimelineEvents = 100;
}

const limited = (limit: number) => ({ room: { timeline: { limit } } });

test.each([
  [1, 1],
  [100, 100],
  [101, 100],
  [100_000, 100],
])('a limit of %i counts as %i: the homeserver’s own bound, inline and stored', async (limit, counts) => {
  const homeserver = new Homeserver();
  homeserver.filters.set(`${ALICE.userId} 7`, limited(limit));
  const filters = new DeviceFilters(homeserver);
  for (const given of [JSON.stringify(limited(limit)), '7']) {
    expect((await filters.of(ALICE.caller, ALICE.userId, given)).timelineLimit).toBe(counts);
  }
});

test.each([null, '', '{', '{"a":1.0e999}', '[]', 'unknown', '{"room":7}'])(
  'what the homeserver would refuse counts as no filter: %j',
  async (given) => {
    const filters = new DeviceFilters(new Homeserver());
    expect(await filters.of(ALICE.caller, ALICE.userId, given)).toEqual(NO_FILTER);
  },
);

test.each([new HomeserverDown('down'), new HomeserverRefusal(429, Buffer.from('{}'))])(
  'a stored filter that cannot be had now counts as none that is known: %s',
  async (failure) => {
    const homeserver = new Homeserver();
    homeserver.filter = () => Promise.reject(failure);
    await expect(new DeviceFilters(homeserver).of(ALICE.caller, ALICE.userId, '7')).rejects.toBe(failure);
  },
);
