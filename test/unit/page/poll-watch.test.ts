import { beforeEach, describe, expect, it } from 'vitest';
import { PollWatch } from '../../../scripts/page/browser/poll-watch.ts';

const POLL = new URL(
  'https://example.org/_matrix/client/v3/events?room_id=!room:other.example&timeout=30000',
);

describe('The preview page', () => {
  let answer: number | Error;
  let told: string[];
  let watch: PollWatch;
  beforeEach(() => {
    told = [];
    watch = new PollWatch(async () => {
      if (answer instanceof Error) throw answer;
      return new Response('{}', { status: answer });
    });
    watch.tell = (problem) => told.push(problem);
  });

  async function poll(with_: number | Error, url: URL | string = POLL): Promise<void> {
    answer = with_;
    const asked = watch.fetch(url);
    if (with_ instanceof Error) await expect(asked).rejects.toBe(with_);
    else expect((await asked).status).toBe(with_);
  }

  it.each([400, 401, 403, 404])('a poll is answered %i ⇒ the preview has ended', async (status) => {
    await poll(status);
    expect(told).toEqual([
      expect.stringMatching(`^The preview has ended: .* ${status} .*load this page again`),
    ]);
  });

  it.each([
    ['cannot be reached', new TypeError('Failed to fetch')],
    ['answers 502', 502],
    ['answers 429', 429],
  ])('polls fail twice, the homeserver %s ⇒ the preview has stopped', async (how, failure) => {
    await poll(failure);
    expect(told).toEqual([]);
    await poll(failure);
    expect(told).toEqual([expect.stringContaining(`The preview has stopped: the homeserver ${how}.`)]);
  });

  it('a poll that goes well takes the sentence back, and failures are counted anew', async () => {
    await poll(403);
    await poll(200);
    expect(told.at(-1)).toBe('');
    await poll(502);
    await poll(200);
    await poll(502);
    expect(told.slice(1)).toEqual(['', '']);
  });

  it.each([
    'https://example.org/_matrix/client/v3/sync?timeout=30000',
    'https://example.org/_matrix/client/v3/rooms/!room/messages?dir=b',
    'https://example.org/_matrix/client/v3/events?timeout=30000',
  ])('%s is no poll of a room', async (url) => {
    for (const result of [403, 200, 502, new TypeError('Failed to fetch'), 502]) await poll(result, url);
    expect(told).toEqual([]);
  });
});
