import { describe, expect, test } from 'vitest';
import { loadConfig } from '../../../src/config/config.ts';
import { settingList } from '../../../src/config/settings.ts';
import { sampleEnvironment, settingsHelp, settingsTable } from '../../../src/config/settings-text.ts';

function environmentOf(file: string): Record<string, string> {
  const lines = file.split('\n').filter((line) => /^PEEK_/.test(line));
  return Object.fromEntries(lines.map((line) => line.split(/=(.*)/s).slice(0, 2)));
}

describe('texts about the settings', () => {
  test('the help and the table hold every setting, its default and its meaning', () => {
    for (const text of [settingsHelp(), settingsTable()]) {
      for (const setting of settingList) {
        expect(text).toContain(setting.name);
        expect(text).toContain(setting.doc);
        if (setting.default !== null) expect(text).toContain(setting.default);
      }
    }
  });

  test('the table has four cells in every row', () => {
    const rows = settingsTable().trimEnd().split('\n');
    expect(rows).toHaveLength(settingList.length + 2);
    for (const row of rows) expect(row.split('|')).toHaveLength(6);
  });

  test('the sample file can be used as it is, and every line of it when uncommented, one reader at a time', () => {
    const sample = sampleEnvironment();
    const config = loadConfig(environmentOf(sample));
    const uncommented = environmentOf(sample.replaceAll('#PEEK_', 'PEEK_'));
    expect(Object.keys(uncommented)).toEqual(settingList.map((setting) => setting.name));
    const { PEEK_READER_TOKEN: _, ...rest } = uncommented;
    expect(loadConfig(rest)).toMatchObject({ listen: config.listen, rateLimit: config.rateLimit });
  });
});
