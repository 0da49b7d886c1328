import { checkHealth } from './app/healthcheck.ts';
import { serve } from './app/serve.ts';
import { StartError } from './app/start-error.ts';
import { version } from './app/version.ts';
import { type Config, ConfigError, loadConfig, loadOpsListen } from './config/config.ts';
import { settingsHelp } from './config/settings-text.ts';
import { makeRegistration } from './homeserver/registration.ts';
import { systemRandom } from './platform/random.ts';

const USAGE = `matrix-peek-proxy ${version}

  serve          run the proxy (this is what happens without a command)
  registration   print an appservice registration for the homeserver
  healthcheck    ask a running proxy for its health; exit code 0 when it is well
  --help         this text, and every setting
  --version
`;

type Environment = Readonly<Record<string, string | undefined>>;

/** Runs one command. Resolves with the exit code. */
export async function runCommand(args: readonly string[], env: Environment): Promise<number> {
  const [command = 'serve'] = args;
  switch (command) {
    case 'serve':
      return withConfig(env, serve);
    case 'registration':
      return withConfig(env, async (config) => {
        const path = config.reader?.kind === 'registration' ? config.reader.path : undefined;
        process.stdout.write(makeRegistration(config.serverName, systemRandom, path));
        return 0;
      });
    case 'healthcheck':
      return explained(() => checkHealth(loadOpsListen(env)));
    case '--version':
      process.stdout.write(`${version}\n`);
      return 0;
    case '--help':
    case 'help':
      process.stdout.write(`${USAGE}\nSettings (environment):\n${settingsHelp()}\n`);
      return 0;
    default:
      process.stderr.write(`There is no command ${JSON.stringify(command)}.\n\n${USAGE}`);
      return 2;
  }
}

function withConfig(env: Environment, run: (config: Config) => Promise<number>): Promise<number> {
  return explained(() => run(loadConfig(env)));
}

/** What is wrong with the settings or with the machine is said in words and makes exit code 1. */
async function explained(run: () => Promise<number>): Promise<number> {
  try {
    return await run();
  } catch (error) {
    if (!(error instanceof ConfigError || error instanceof StartError)) throw error;
    process.stderr.write(`${error.message}\n`);
    return 1;
  }
}
