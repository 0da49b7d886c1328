import { type Setting, settingList } from './settings.ts';

function defaultText(setting: Setting): string {
  if (setting.required) return 'required';
  return setting.default ?? 'none';
}

/** Every setting with its kind, default, meaning and an example: for `--help` and for a start that failed. */
export function settingsHelp(): string {
  return settingList
    .map((setting) => {
      const state = setting.required ? 'required' : `default: ${defaultText(setting)}`;
      return [
        `  ${setting.name}  (${state})`,
        `      ${setting.doc}`,
        `      ${setting.kind.label}; example: ${setting.example}`,
      ].join('\n');
    })
    .join('\n');
}

/** The settings as a Markdown table. */
export function settingsTable(): string {
  const rows = settingList.map((setting) => {
    const fallback = setting.default === null ? defaultText(setting) : `\`${setting.default}\``;
    return `| \`${setting.name}\` | ${fallback} | ${setting.doc} | \`${setting.example}\` |`;
  });
  return ['| name | default | meaning | example |', '|---|---|---|---|', ...rows, ''].join('\n');
}

/** An environment file: what is required filled in with its example, all else commented out with its default. */
export function sampleEnvironment(): string {
  const blocks = settingList.map((setting) => {
    const line = `${setting.name}=${setting.default ?? setting.example}`;
    return `# ${setting.doc}\n# ${setting.kind.label}\n${setting.required ? line : `#${line}`}\n`;
  });
  return blocks.join('\n');
}
