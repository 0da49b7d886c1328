import { X509Certificate } from 'node:crypto';
import type { Config } from '../config/config.ts';
import { parseRegistration } from '../homeserver/registration.ts';
import { parseSigningKeys } from '../matrix/signing-key.ts';
import { SettingFiles } from './start-error.ts';

/** Looks into every file that a setting names before anything starts. Throws `StartError` with all that is wrong. */
export function checkFiles(config: Config): void {
  const files = new SettingFiles();
  files.read('PEEK_SIGNING_KEY_PATH', config.signingKeyPath, parseSigningKeys);
  if (config.reader?.kind === 'registration') {
    const { path } = config.reader;
    const advice = `make it with: node dist/main.js registration > ${path}`;
    files.read('PEEK_REGISTRATION_PATH', path, parseRegistration, advice);
  }
  if (config.federationCaPath !== null) {
    files.read('PEEK_FEDERATION_CA_PATH', config.federationCaPath, (text) => new X509Certificate(text));
  }
  if (config.tls !== null) {
    files.read('PEEK_TLS_CERT_PATH', config.tls.certPath, (text) => new X509Certificate(text));
    files.read('PEEK_TLS_KEY_PATH', config.tls.keyPath, (text) => text);
  }
  files.check();
}
