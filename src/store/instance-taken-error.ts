/** A device peek was added with an instance number that the device has had on another of its peeks. */
export class InstanceTakenError extends Error {
  override readonly name = 'InstanceTakenError';

  constructor(instance: number) {
    super(`The device already has a peek with instance ${instance}`);
  }
}
