import type { DevicePeek } from '../store/store.ts';

type Device = Pick<DevicePeek, 'userId' | 'deviceId'>;

/** No homeserver gives a device ID with NUL in it, and none takes one from a client. */
const MARK = '\u0000preview\u0000';

/**
 * Under which name a device's previews are kept. To the store a preview is a peek like any other, so that it holds
 * the room's log; but it is of no device that syncs.
 */
export function previewDevice({ userId, deviceId }: Device): Device {
  return { userId, deviceId: `${MARK}${deviceId}` };
}

/** The device that peeks or previews under this name. */
export function deviceBehind({ userId, deviceId }: Device): Device {
  return { userId, deviceId: isPreview({ deviceId }) ? deviceId.slice(MARK.length) : deviceId };
}

/** Whether a peek is the preview of a client that knows no peeks. */
export function isPreview({ deviceId }: Pick<Device, 'deviceId'>): boolean {
  return deviceId.startsWith(MARK);
}
