import { createServer, type Server, type ServerResponse } from 'node:http';
import { afterEach, expect, it } from 'vitest';
import { HomeserverDown } from '../../../src/homeserver/homeserver.ts';
import { HomeserverApi, homeserverHttp } from '../../../src/homeserver/homeserver-api.ts';
import { systemClock } from '../../../src/platform/clock.ts';

const HELD = 300;
const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

async function listening(answer: (path: string, response: ServerResponse) => void) {
  const server = createServer((request, response) => answer(request.url ?? '', response));
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const { http, close } = homeserverHttp(systemClock);
  return { api: new HomeserverApi(`http://127.0.0.1:${port}`, http, systemClock), close };
}

it(`${HELD} held polls keep no other request waiting`, async () => {
  const held: ServerResponse[] = [];
  const { api, close } = await listening((path, response) => {
    if (path === '/held') held.push(response);
    else response.end('{}');
  });
  const polls = Array.from({ length: HELD }, () => api.send({ method: 'GET', path: '/held' }));
  await expect.poll(() => held.length, { timeout: 5000 }).toBe(HELD);
  expect((await api.send({ method: 'GET', path: '/quick' })).status).toBe(200);
  for (const response of held) response.end('{}');
  expect((await Promise.all(polls)).every(({ status }) => status === 200)).toBe(true);
  await close();
});

it('a cancelled poll, a broken answer and an answer that is too long are HomeserverDown', async () => {
  const { api, close } = await listening((path, response) => {
    if (path === '/cut')
      response.writeHead(200, { 'content-length': 10 }).write('{', () => response.destroy());
    else if (path === '/long') response.end('x'.repeat(1000));
  });
  const abort = new AbortController();
  const held = api.send({ method: 'GET', path: '/held', signal: abort.signal });
  abort.abort();
  await expect(held).rejects.toThrow(HomeserverDown);
  await expect(api.send({ method: 'GET', path: '/cut' })).rejects.toThrow(HomeserverDown);
  await expect(api.send({ method: 'GET', path: '/long', maxBytes: 999 })).rejects.toThrow(HomeserverDown);
  await close();
});

it('closing ends what is under way', async () => {
  const { api, close } = await listening(() => {});
  const held = expect(api.send({ method: 'GET', path: '/held' })).rejects.toThrow(HomeserverDown);
  await new Promise((resolve) => setTimeout(resolve, 50));
  await close();
  await held;
});
