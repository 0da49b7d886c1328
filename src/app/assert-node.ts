/** `node:sqlite` without a flag, and the language level that this is built for. */
const OLDEST = 24;

/** Ends the process with a sentence on a Node that is too old, instead of a stack trace later. */
export function assertNode(version: string): void {
  const major = Number(/^v(\d+)\./.exec(version)?.[1] ?? 0);
  if (major >= OLDEST) return;
  process.stderr.write(
    `matrix-peek-proxy needs Node.js ${OLDEST} or newer; this is ${version}. (In a checkout, node_modules/.bin/node is one.)\n`,
  );
  process.exit(1);
}
