import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

/** A Lua file of `lua/`, run by Redis as one atomic step. */
export interface Script {
  readonly lua: string;
  readonly sha1: string;
}

function script(name: string): Script {
  const lua = readFileSync(new URL(`lua/${name}.lua`, import.meta.url), 'utf8');
  // Redis names scripts by their SHA-1.
  return { lua, sha1: createHash('sha1').update(lua).digest('hex') };
}

export const scripts = {
  logAppend: script('log-append'),
  logReadAfter: script('log-read-after'),
  logReadLast: script('log-read-last'),
  logBytes: script('log-bytes'),
  logPrune: script('log-prune'),
  replicaWrite: script('replica-write'),
  replicaSwitch: script('replica-switch'),
  replicaStateOf: script('replica-state-of'),
  roomEvent: script('room-event'),
  roomSize: script('room-size'),
  hashChange: script('hash-change'),
  devicePeekAdd: script('device-peek-add'),
  devicePeekSleep: script('device-peek-sleep'),
  devicePeekEnd: script('device-peek-end'),
  devicePeekRemove: script('device-peek-remove'),
  inboundPut: script('inbound-put'),
  inboundRemove: script('inbound-remove'),
  inboundAdvance: script('inbound-advance'),
  inboundOfRoom: script('inbound-of-room'),
  leaseAcquire: script('lease-acquire'),
  leaseRelease: script('lease-release'),
  indexTouch: script('index-touch'),
  indexForget: script('index-forget'),
  indexDue: script('index-due'),
} as const;
