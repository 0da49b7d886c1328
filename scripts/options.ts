import { type ParseArgsOptionsConfig, parseArgs } from 'node:util';

const WRONG_USAGE = 2;

/**
 * The options that a script was started with. `--help` prints the usage and exits 0; what is not known,
 * or lacks its value, is said, with the usage, and exits 2.
 */
export function readOptions<const Options extends ParseArgsOptionsConfig>(usage: string, options: Options) {
  if (process.argv.includes('--help') || process.argv.includes('-h')) {
    console.log(usage);
    process.exit(0);
  }
  try {
    return parseArgs({ options }).values;
  } catch (error) {
    // What Node says further is how to pass it as a positional argument, which there are none of.
    const [problem = ''] = String(error instanceof Error ? error.message : error).split('. ');
    return refuseUsage(problem, usage);
  }
}

export function refuseUsage(problem: string, usage: string): never {
  console.error(`${problem}.\n\n${usage}`);
  process.exit(WRONG_USAGE);
}
