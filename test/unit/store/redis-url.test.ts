import { describe, expect, test } from 'vitest';
import { parseRedisUrl, RedisUrlError } from '../../../src/store/redis/redis-url.ts';

describe('the Redis URL', () => {
  test('names a single server', () => {
    expect(parseRedisUrl('redis://localhost')).toEqual({
      kind: 'single',
      hosts: [{ host: 'localhost', port: 6379 }],
      tls: false,
      username: null,
      password: null,
      db: 0,
      master: null,
    });
    expect(parseRedisUrl('redis://[::1]:7000/3')).toMatchObject({
      hosts: [{ host: '::1', port: 7000 }],
      db: 3,
    });
  });

  test('carries TLS and a percent-encoded login', () => {
    expect(parseRedisUrl('rediss://peek:a%40b%3Ac@redis.example:6380')).toMatchObject({
      tls: true,
      username: 'peek',
      password: 'a@b:c',
    });
    expect(parseRedisUrl('redis://:secret@localhost')).toMatchObject({ username: null, password: 'secret' });
  });

  test('names Sentinels, the master and its database', () => {
    expect(parseRedisUrl('redis+sentinel://a:1,b/mymaster/2')).toMatchObject({
      kind: 'sentinel',
      hosts: [
        { host: 'a', port: 1 },
        { host: 'b', port: 26379 },
      ],
      master: 'mymaster',
      db: 2,
    });
  });

  test('names the nodes of a cluster, with or without saying so', () => {
    const hosts = [
      { host: 'a', port: 7000 },
      { host: 'b', port: 7001 },
    ];
    expect(parseRedisUrl('redis+cluster://a:7000,b:7001')).toMatchObject({ kind: 'cluster', hosts });
    expect(parseRedisUrl('redis://a:7000,b:7001')).toMatchObject({ kind: 'cluster', hosts });
    expect(parseRedisUrl('redis+cluster://a')).toMatchObject({ kind: 'cluster' });
  });

  test.each([
    'http://localhost',
    'redis://',
    'redis://a:0',
    'redis://a:70000',
    'redis://a/x',
    'redis://a:1:2',
    'redis+sentinel://a:1',
    'redis+cluster://a,b/1',
    'redis://a/1/2',
    'redis://%zz@a',
  ])('%s is refused', (url) => {
    expect(() => parseRedisUrl(url)).toThrow(RedisUrlError);
  });

  test('a refusal does not repeat a password', () => {
    expect(() => parseRedisUrl('redis://:hunter2@a:99999')).toThrow(/^(?!.*hunter2)/);
  });
});
