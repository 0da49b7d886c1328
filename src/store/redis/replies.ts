/** Redis's untyped replies as what our own commands and scripts are known to give. */

export function asText(reply: unknown): string {
  if (typeof reply !== 'string') throw new TypeError(`Redis replied ${typeof reply} where text was expected`);
  return reply;
}

export function asList(reply: unknown): readonly unknown[] {
  if (!Array.isArray(reply)) throw new TypeError(`Redis replied ${typeof reply} where a list was expected`);
  return reply;
}

export function asTexts(reply: unknown): string[] {
  return asList(reply).map(asText);
}

/** `[field, value, field, value, …]`. A Map, as fields may be remote strings. */
export function asHash(reply: unknown): Map<string, string> {
  const texts = asTexts(reply);
  const hash = new Map<string, string>();
  for (let i = 0; i + 1 < texts.length; i += 2) hash.set(texts[i] as string, texts[i + 1] as string);
  return hash;
}

const AT_ONCE = 100;

/** Maps over many keys, a bounded number of commands at a time. */
export async function mapBounded<T, R>(items: readonly T[], task: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (let i = 0; i < items.length; i += AT_ONCE) {
    results.push(...(await Promise.all(items.slice(i, i + AT_ONCE).map(task))));
  }
  return results;
}
