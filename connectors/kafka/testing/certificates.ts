// A certificate authority and one server certificate, made for one test broker and thrown away with it.
//
// X.509 in DER, built by hand, because neither Node nor a machine that has only Docker can be counted on to make
// certificates (openssl and keytool are not everywhere), and a JVM start for it would cost a second.
import { generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'

/** All PEM. `serverKey` is PKCS #8, unencrypted, as Kafka's `ssl.keystore.type=PEM` wants it. */
export interface BrokerCertificates {
  readonly ca: string
  readonly serverKey: string
  readonly serverCertificate: string
}

const ecdsaWithSha256 = sequence(oid('2a8648ce3d040302'))
const dayMs = 86_400_000

/** P-256 keys; valid from a day before `nowMs` (clocks of containers differ) for ten years. */
export function makeCertificates(nowMs: number = performance.timeOrigin): BrokerCertificates {
  const authority = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const server = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const issuer = name('Millrace test CA')
  const basicConstraints = extension('551d13', sequence(tagged(0x01, Buffer.from([0xff]))), 'critical')
  const alternativeNames = sequence(
    tagged(0x82, Buffer.from('localhost')),
    tagged(0x87, Buffer.from([127, 0, 0, 1])),
    tagged(0x82, Buffer.from('host.docker.internal')),
  )
  const ca = certificate(issuer, issuer, authority.publicKey, authority.privateKey, nowMs, [basicConstraints])
  const serverCertificate = certificate(issuer, name('localhost'), server.publicKey, authority.privateKey, nowMs, [
    extension('551d11', alternativeNames, 'optional'),
  ])
  return { ca, serverCertificate, serverKey: server.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() }
}

function certificate(
  issuer: Buffer,
  subject: Buffer,
  key: KeyObject,
  signer: KeyObject,
  nowMs: number,
  extensions: readonly Buffer[],
): string {
  const serial = Buffer.concat([Buffer.from([0x01]), randomBytes(15)])
  const body = sequence(
    tagged(0xa0, integer(Buffer.from([2]))),
    integer(serial),
    ecdsaWithSha256,
    issuer,
    sequence(time(nowMs - dayMs), time(nowMs + 3650 * dayMs)),
    subject,
    key.export({ type: 'spki', format: 'der' }),
    tagged(0xa3, sequence(...extensions)),
  )
  const signature = sign('sha256', body, signer)
  const der = sequence(body, ecdsaWithSha256, tagged(0x03, Buffer.concat([Buffer.from([0]), signature])))
  const lines = der.toString('base64').match(/.{1,64}/g) ?? []
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`
}

function name(commonName: string): Buffer {
  return sequence(tagged(0x31, sequence(oid('550403'), tagged(0x0c, Buffer.from(commonName)))))
}

function extension(id: string, value: Buffer, weight: 'critical' | 'optional'): Buffer {
  const critical = weight === 'critical' ? [tagged(0x01, Buffer.from([0xff]))] : []
  return sequence(oid(id), ...critical, tagged(0x04, value))
}

function time(ms: number): Buffer {
  const text = new Date(ms).toISOString().replace(/[-:T]/g, '').slice(0, 14)
  return tagged(0x18, Buffer.from(`${text}Z`))
}

function integer(content: Buffer): Buffer {
  return tagged(0x02, content)
}

function oid(hex: string): Buffer {
  return tagged(0x06, Buffer.from(hex, 'hex'))
}

function sequence(...parts: readonly Buffer[]): Buffer {
  return tagged(0x30, Buffer.concat(parts))
}

function tagged(tag: number, content: Buffer): Buffer {
  const length = content.length
  if (length < 0x80) return Buffer.concat([Buffer.from([tag, length]), content])
  if (length < 0x100) return Buffer.concat([Buffer.from([tag, 0x81, length]), content])
  return Buffer.concat([Buffer.from([tag, 0x82, length >> 8, length & 0xff]), content])
}
