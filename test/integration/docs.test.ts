import { execFile } from 'node:child_process';
import { access, readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { generatedFiles } from '../../scripts/docs/generated.ts';
import { ROUTES } from '../../scripts/docs/routes.ts';
import { PEEK_PATH, UNPEEK_PATH } from '../../src/client-api/router.ts';
import { withHomeserverTokens } from '../../src/client-api/token-targets.ts';
import { wrapToken } from '../../src/client-sync/sync-token.ts';
import { loadConfig } from '../../src/config/config.ts';
import { settingList } from '../../src/config/settings.ts';
import { makeRegistration, parseRegistration, RegistrationError } from '../../src/homeserver/registration.ts';
import { createMetrics } from '../../src/platform/metrics.ts';
import { systemRandom } from '../../src/platform/random.ts';
import { node, repositoryRoot } from '../support/work.ts';

const read = (path: string) => readFile(join(repositoryRoot, path), 'utf8');
const listed = async (folder: string) =>
  (await readdir(join(repositoryRoot, folder))).map((name) => `${folder}/${name}`);

const documents = ['README.md', 'CHANGELOG.md', 'CONTRIBUTING.md', ...(await listed('docs'))];
const recipes = ['Dockerfile', ...(await listed('config'))];
const texts = new Map<string, string>();
for (const path of [...documents, ...recipes]) texts.set(path, await read(path));

describe('what is generated', () => {
  const generated = generatedFiles(repositoryRoot);

  it('the settings, routes and registration in the documents and in config/ are as the code has them', async () => {
    for (const [path, text] of await generated) {
      expect(await read(path), `${path} is not up to date: npm run docs`).toBe(text);
    }
  });

  it('the README has a row for every setting, with its default', () => {
    const readme = texts.get('README.md') ?? '';
    for (const { name, default: fallback, required } of settingList) {
      const shown = required ? 'required' : fallback === null ? 'none' : `\`${fallback}\``;
      expect(readme).toContain(`| \`${name}\` | ${shown} |`);
    }
  });

  it('the sample registration is refused until it has tokens of its own; what the command prints is not', () => {
    const sample = texts.get('config/registration.sample.yaml') ?? '';
    expect(() => parseRegistration(sample)).toThrow(RegistrationError);
    const fresh = makeRegistration('example.org', systemRandom);
    expect(parseRegistration(fresh).readerUserId).toBe('@_peek_reader:example.org');
    const tokenless = (text: string) => text.replaceAll(/_token: .*/g, '');
    expect(tokenless(sample)).toBe(tokenless(fresh));
  });
});

describe('what the documents name exists', () => {
  it.each(documents)('links of %s lead to files, and to headings in them', async (path) => {
    for (const [, target = ''] of (texts.get(path) ?? '').matchAll(/\]\((?!https?:)([^)\s]+)\)/g)) {
      const [file = '', anchor] = target.split('#');
      const linked = file === '' ? path : join(dirname(path), file);
      await access(join(repositoryRoot, linked));
      if (anchor !== undefined) expect(anchorsOf(await read(linked)), `${path}: ${target}`).toContain(anchor);
    }
  });

  it.each([...documents, ...recipes])('paths of the repository that %s names', async (path) => {
    const named = (texts.get(path) ?? '').matchAll(
      /(?<![\w/.-])((?:src|test|scripts|config|docs)\/[\w./-]*\w|(?:src|test|scripts|config|docs)\/)/g,
    );
    for (const [, name = ''] of named) {
      await expect(access(join(repositoryRoot, name)), `${path} names ${name}`).resolves.toBeUndefined();
    }
  });

  it('npm commands are in package.json', async () => {
    const { scripts } = JSON.parse(await read('package.json')) as { scripts: Record<string, string> };
    for (const [path, text] of texts) {
      for (const [, name = ''] of text.matchAll(/\bnpm run (?:-\w+ )?([\w:]+)/g)) {
        expect(Object.keys(scripts), `${path}: npm run ${name}`).toContain(name);
      }
    }
    expect(Object.keys(scripts)).toEqual(expect.arrayContaining(['demo', 'test']));
  });

  it('commands of the proxy are those of its help, and the README has each of them', async () => {
    const { stdout } = await promisify(execFile)(node, ['src/main.ts', '--help'], { cwd: repositoryRoot });
    const commands = [...stdout.matchAll(/^ {2}(\S+) {2,}\S/gm)].map(([, name]) => name);
    for (const [path, text] of texts) {
      const calls = text.matchAll(/(?:node \S*dist\/main\.js|npx matrix-peek-proxy) ([\w-]+)/g);
      for (const [, name = ''] of calls) {
        expect([...commands, '--help', '--version'], path).toContain(name);
      }
    }
    const readme = texts.get('README.md') ?? '';
    for (const name of commands.filter((command) => command?.match(/^[a-z]+$/))) {
      expect(readme).toContain(`\`node dist/main.js ${name}\``);
    }
  });

  it('settings are settings', () => {
    const names = new Set<string>(settingList.map(({ name }) => name));
    for (const [path, text] of texts) {
      for (const [name] of text.matchAll(/\bPEEK_[A-Z_]*[A-Z]\b/g)) {
        if (name.startsWith('PEEK_TEST_')) continue;
        expect(names, `${path} names ${name}`).toContain(name);
      }
    }
  });

  it('metrics in alerts are counted', async () => {
    const { text } = await createMetrics().exposition();
    for (const [name] of (texts.get('config/prometheus-alerts.yml') ?? '').matchAll(/peek_proxy_\w+/g)) {
      expect(text).toContain(`# TYPE ${name} `);
    }
  });

  it('the table of floors in ARCHITECTURE.md has every folder of src/, and no other', async () => {
    const rows = [
      ...(texts.get('docs/ARCHITECTURE.md') ?? '').matchAll(/^\| \d* ?\| ((?:`[\w./-]+` ?)+) \|/gm),
    ];
    const named = rows.flatMap(([, cell = '']) =>
      [...cell.matchAll(/`([\w.-]+)\/?`/g)].map(([, name]) => name),
    );
    expect(named.sort()).toEqual((await readdir(join(repositoryRoot, 'src'))).sort());
  });
});

describe('recipes', () => {
  it('the environment in compose.yaml makes a configuration', () => {
    const compose = parse(texts.get('config/compose.yaml') ?? '') as {
      services: { 'peek-proxy': { environment: Record<string, string> } };
    };
    const config = loadConfig(compose.services['peek-proxy'].environment);
    expect(config.reader).toEqual({ kind: 'registration', path: '/run/peek/peek-registration.yaml' });
  });

  it('YAML files are YAML', () => {
    for (const [path, text] of texts)
      if (/\.ya?ml$/.test(path)) expect(parse(text), path).toBeTypeOf('object');
  });

  it.each([
    ...['r0', 'v3', 'unstable'].map((version) => `/_matrix/client/${version}/sync`),
    ...['r0', 'v3', 'unstable/org.matrix.msc2753'].flatMap((prefix) => [
      `/_matrix/client/${prefix}/peek/#lobby:example.org`,
      `/_matrix/client/${prefix}/rooms/!a:example.org/unpeek`,
    ]),
    '/_matrix/client/versions',
    '/_matrix/client/v3/join/#lobby:example.org',
    '/_matrix/client/v3/knock/!a:example.org',
    '/_matrix/client/v3/rooms/!a:example.org/join',
    '/_matrix/client/v3/rooms/!a:example.org/state',
    '/_matrix/client/v3/rooms/!a:example.org/state/m.room.member/@b:example.org',
    '/_matrix/client/v3/rooms/!a:example.org/joined_members',
    '/_matrix/client/v3/rooms/!a:example.org/receipt/m.read/$b',
    '/_matrix/client/v3/rooms/!a:example.org/read_markers',
    '/_matrix/client/v1/rooms/!a:example.org/timestamp_to_event',
    '/_matrix/client/v3/directory/room/#lobby:example.org',
    '/_matrix/client/v3/logout/all',
    '/_matrix/client/v3/devices/ABC',
    '/_matrix/client/v3/user/@b:example.org/account_data/m.ignored_user_list',
    '/_matrix/client/v3/rooms/!a:example.org/messages',
    '/_matrix/client/v3/rooms/!a:example.org/members',
    '/_matrix/client/r0/rooms/!a:example.org/initialSync',
    '/_matrix/client/v1/rooms/!a:example.org/relations/$b/m.thread',
    '/_matrix/client/v3/keys/changes',
    '/_matrix/client/v3/events',
    '/_matrix/client/api/v1/initialSync',
    '/_synapse/admin/v1/rooms/!a:example.org/messages',
    '/_matrix/federation/v1/send/1',
    '/_matrix/federation/v1/peek/!a:example.org/b',
    '/_matrix/federation/v1/state_ids/!a:example.org',
    '/_matrix/federation/v1/get_missing_events/!a:example.org',
    '/_matrix/federation/v1/timestamp_to_event/!a:example.org',
  ])('with workers, %s comes to the proxy', (path) => {
    expect(ROUTES.filter((route) => new RegExp(route.path).test(path))).toHaveLength(1);
  });

  it('with workers, what peeking has no part in goes to its worker', () => {
    const others = [
      '/_matrix/client/v3/rooms/!a:example.org/send/m.room.message/1',
      '/_matrix/client/v3/login',
      '/_matrix/media/v3/upload',
      '/_matrix/federation/v1/make_join/!a:example.org/@b:example.org',
      '/_matrix/federation/v2/send_join/!a:example.org/$b',
      '/_matrix/key/v2/server',
    ];
    for (const path of others) {
      expect(PEEK_PATH.test(path) || UNPEEK_PATH.test(path)).toBe(false);
      expect(
        ROUTES.some((route) => new RegExp(route.path).test(path)),
        path,
      ).toBe(false);
    }
  });

  it('every path whose tokens are turned back is among the routes of workers', () => {
    const token = wrapToken(
      's1_2_3_4_5_6_7_8_0_1',
      { device: '00000000', peeks: new Map([[1, 2]]) },
      'ninth-field',
    );
    const rooms = [
      'messages',
      'members',
      'initialSync',
      'context/$e',
      'threads',
      'relations/$e',
      'state',
      'event/$e',
    ];
    const paths = ['r0', 'v1', 'v3', 'unstable', 'api/v1'].flatMap((version) => [
      ...rooms.map((name) => `/_matrix/client/${version}/rooms/!a:b/${name}`),
      ...['keys/changes', 'events', 'initialSync', 'notifications', 'publicRooms'].map(
        (name) => `/_matrix/client/${version}/${name}`,
      ),
    ]);
    const turned = paths.filter((path) => {
      const url = `${path}?from=${token}&at=${token}`;
      return withHomeserverTokens(url) !== url;
    });
    expect(turned.length).toBeGreaterThan(10);
    for (const path of turned) {
      expect(
        ROUTES.some((route) => new RegExp(route.path).test(path)),
        path,
      ).toBe(true);
    }
  });
});

/** The anchors of a document's headings, as forges make them. */
function anchorsOf(text: string): string[] {
  return [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s-]/gu, '')
      .replaceAll(' ', '-'),
  );
}
