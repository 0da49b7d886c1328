import { type Browser, chromium } from 'playwright-core';
import { debianCommands } from './debian-packages.ts';

/** Where Chromium is; installs Debian's package where it is missing, half a minute. Rejects when it cannot be had. */
export async function chromiumPath(): Promise<string> {
  const [path = ''] = await debianCommands(['chromium'], ['chromium', 'fonts-dejavu-core']);
  return path;
}

/** A headless Chromium, which ends with this process. */
export async function startChromium(): Promise<Browser> {
  const executablePath = await chromiumPath();
  // Chromium refuses to run its sandbox as root, which is what containers run as.
  const args = process.getuid?.() === 0 ? ['--no-sandbox'] : [];
  return chromium.launch({ executablePath, args: [...args, '--disable-dev-shm-usage'] });
}
