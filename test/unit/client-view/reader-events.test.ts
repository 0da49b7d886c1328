import { describe, expect, it } from 'vitest';
import { IgnoredSenders, NOBODY_IGNORED } from '../../../src/client-view/ignored-users.ts';
import { eventsForUser } from '../../../src/client-view/reader-events.ts';
import { JsonError } from '../../../src/matrix/json.ts';

const BAD = '@bad:b.test';

async function shown(text: string, ignored: string[] = []): Promise<string> {
  const bytes = Buffer.from(text);
  const list = ignored.length === 0 ? NOBODY_IGNORED : new IgnoredSenders(ignored);
  const pieces = await eventsForUser(bytes, { start: 0, end: bytes.length }, list);
  return Buffer.concat(pieces).toString();
}

describe('the reader’s membership', () => {
  it.each([
    ['{"unsigned":{"age":1,"membership":"leave"}}', '{"unsigned":{"age":1}}'],
    ['{"unsigned":{"membership":"leave","age":1}}', '{"unsigned":{"age":1}}'],
    ['{"unsigned":{"a":1 , "membership" : "leave" , "age":1}}', '{"unsigned":{"a":1 ,  "age":1}}'],
    ['{"unsigned":{"membership":"leave"}}', '{"unsigned":{}}'],
    ['{"unsigned":{ "membership":"leave" },"type":"t"}', '{"unsigned":{  },"type":"t"}'],
    ['{"content":{"membership":"join"},"unsigned":{}}', '{"content":{"membership":"join"},"unsigned":{}}'],
    [
      '{"unsigned":{"prev_content":{"membership":"join"}}}',
      '{"unsigned":{"prev_content":{"membership":"join"}}}',
    ],
    ['{"unsigned":null}', '{"unsigned":null}'],
  ])('%s ⇒ %s', async (event, expected) => {
    expect(await shown(`[${event}]`)).toBe(`[${expected}]`);
  });

  it('every other byte stays as it was: numbers no program holds, escapes, blanks, keys given twice', async () => {
    const event =
      '{"content":{"n":123456789012345678901234567890,"f":1.50,"k":1,"k":2,"s":"\\u00e9\\/"} , "sender":"@a:b"}';
    expect(await shown(`[ ${event} ]`)).toBe(`[${event}]`);
  });
});

describe('ignored senders', () => {
  const said = (sender: string) => `{"type":"m.room.message","sender":${JSON.stringify(sender)}}`;

  it('what they say is left out, wherever it stands, and their state is not', async () => {
    const state = `{"type":"m.room.topic","sender":"${BAD}","state_key":""}`;
    const list = [said(BAD), said('@a:b'), said(BAD), state, said(BAD)];
    expect(await shown(`[${list.join(',')}]`, [BAD])).toBe(`[${said('@a:b')},${state}]`);
    expect(await shown(`[${said(BAD)}]`, [BAD])).toBe('[]');
    expect(await shown('[]', [BAD])).toBe('[]');
  });

  it('a name written with escapes is the same name', async () => {
    expect(await shown('[{"sender":"\\u0040bad:b.test"}]', [BAD])).toBe('[]');
  });
});

describe('what is bundled', () => {
  const thread = (sender: string) => ({
    type: 't',
    sender: '@a:b',
    unsigned: {
      'm.relations': {
        'm.thread': {
          latest_event: { sender, type: 't', unsigned: { age: 2, membership: 'leave' } },
          count: 2,
          current_user_participated: false,
        },
        'm.replace': { sender: '@a:b', unsigned: { membership: 'leave' } },
      },
      membership: 'leave',
    },
  });

  it('is without the reader’s membership too', async () => {
    const [event] = JSON.parse(await shown(JSON.stringify([thread('@c:d')])));
    expect(event.unsigned).toEqual({
      'm.relations': {
        'm.thread': {
          latest_event: { sender: '@c:d', type: 't', unsigned: { age: 2 } },
          count: 2,
          current_user_participated: false,
        },
        'm.replace': { sender: '@a:b', unsigned: {} },
      },
    });
  });

  it('a thread whose newest event is hidden is not told of', async () => {
    const [event] = JSON.parse(await shown(JSON.stringify([thread(BAD)]), [BAD]));
    expect(event.unsigned['m.relations']).toEqual({ 'm.replace': { sender: '@a:b', unsigned: {} } });
  });
});

it('a bundle nested beyond all bounds costs itself', async () => {
  const deep = `${'['.repeat(5_000)}${']'.repeat(5_000)}`;
  const event = `{"unsigned":{"m.relations":{"m.replace":{"content":${deep}}}}}`;
  expect(await shown(`[${event},{"type":"t"}]`)).toBe('[{"unsigned":{"m.relations":{}}},{"type":"t"}]');
});

it.each(['{}', 'null', '[', '[{]', ''])('%j is no list ⇒ JsonError', async (text) => {
  await expect(shown(text)).rejects.toThrow(JsonError);
});
