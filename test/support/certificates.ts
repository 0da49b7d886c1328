import { execFile } from 'node:child_process';
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { singleFlight } from './single-flight.ts';
import { synapsePython } from './synapse-environment.ts';
import { workDirectory } from './work.ts';

/** Paths of PEM files. */
export interface Certificates {
  /** The certificate authority that the test servers trust, and nothing else. */
  readonly ca: string;
  /** For `localhost`, `127.0.0.1` and `::1`. */
  readonly certificate: string;
  readonly key: string;
  /** Signed by the same authority, for `elsewhere.test`: the wrong name for every test server. */
  readonly wrongNameCertificate: string;
  readonly wrongNameKey: string;
}

/** Made with the `cryptography` that Synapse brings: an openssl command is not promised to be there. */
const MAKE_CERTIFICATES = `
import datetime, ipaddress, os, sys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

out = sys.argv[1]
now = datetime.datetime.now(datetime.timezone.utc)

def write(name, data):
    with open(os.path.join(out, name), "wb") as file:
        file.write(data)

def write_key(name, key):
    write(name, key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                  serialization.NoEncryption()))

def named(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

ca_key = ec.generate_private_key(ec.SECP256R1())
ca_name = named("matrix-peek-proxy test authority")

def sign(subject, key, extensions):
    builder = (x509.CertificateBuilder().subject_name(subject).issuer_name(ca_name)
               .public_key(key.public_key()).serial_number(x509.random_serial_number())
               .not_valid_before(now - datetime.timedelta(days=1))
               .not_valid_after(now + datetime.timedelta(days=3650)))
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

ca_key_id = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())

def server(stem, names):
    key = ec.generate_private_key(ec.SECP256R1())
    write_key(stem + ".key", key)
    write(stem + ".crt", sign(named(stem), key, [
        (x509.SubjectAlternativeName(names), False),
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_key_id), False)]))

server("localhost", [x509.DNSName("localhost"),
                     x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
                     x509.IPAddress(ipaddress.ip_address("::1"))])
server("elsewhere.test", [x509.DNSName("elsewhere.test")])
write("ca.crt", sign(ca_name, ca_key, [
    (x509.BasicConstraints(ca=True, path_length=0), True), (ca_key_id, False),
    (x509.KeyUsage(digital_signature=False, content_commitment=False, key_encipherment=False,
                   data_encipherment=False, key_agreement=False, key_cert_sign=True, crl_sign=True,
                   encipher_only=False, decipher_only=False), True)]))
`;

/** The certificate authority of this checkout and its server certificates, made on first use and kept. */
export async function testCertificates(): Promise<Certificates> {
  const directory = workDirectory('certs');
  const ca = join(directory, 'ca.crt');
  const made = () =>
    access(ca).then(
      () => true,
      () => false,
    );
  if (!(await made())) {
    const python = await synapsePython();
    await singleFlight(`${directory}.lock`, made, async () => {
      await promisify(execFile)(python, ['-c', MAKE_CERTIFICATES, directory]);
    });
  }
  return {
    ca,
    certificate: join(directory, 'localhost.crt'),
    key: join(directory, 'localhost.key'),
    wrongNameCertificate: join(directory, 'elsewhere.test.crt'),
    wrongNameKey: join(directory, 'elsewhere.test.key'),
  };
}
