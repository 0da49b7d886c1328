/** Tells whether an event type fits. */
export type TypePattern = (type: string) => boolean;

/** Event types as filters name them, where `*` stands for any run of characters. */
export function compileTypes(patterns: readonly string[]): TypePattern[] {
  const exact = new Set(patterns.filter((pattern) => !pattern.includes('*')));
  const wild = patterns.filter((pattern) => pattern.includes('*')).map(compileWildcard);
  return exact.size === 0 ? wild : [(type) => exact.has(type), ...wild];
}

/** Takes each piece at its first place behind the piece before it: one walk, nothing is tried twice. */
function compileWildcard(pattern: string): TypePattern {
  const pieces = pattern.split('*');
  const first = pieces[0] ?? '';
  const last = pieces.at(-1) ?? '';
  const between = pieces.slice(1, -1).filter((piece) => piece !== '');
  return (type) => {
    const end = type.length - last.length;
    if (end < first.length || !type.startsWith(first) || !type.endsWith(last)) return false;
    let at = first.length;
    for (const piece of between) {
      const found = type.indexOf(piece, at);
      if (found < 0 || found + piece.length > end) return false;
      at = found + piece.length;
    }
    return true;
  };
}
