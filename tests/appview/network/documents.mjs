// npm's @did-plc/server answers in the form of 2022: a key's id is "#atproto", its type EcdsaSecp256k1VerificationKey2019, and
// it is not compressed. plc.directory says Multikey today. Only that one answer is rewritten; below /legacy it stays as it was.
import http from 'node:http'

export function serveModernDidDocs(plc) {
  const server = plc.server.server
  const originals = server.listeners('request')
  const pass = (req, res) => { for (const l of originals) l.call(server, req, res) }
  server.removeAllListeners('request')
  server.on('request', (req, res) => {
    const m = /^\/(did(?::|%3A)plc(?::|%3A)[a-z0-9]+)\/?$/i.exec(req.url.split('?')[0])
    const legacy = req.url.startsWith('/legacy/')
    if (legacy) req.url = req.url.slice('/legacy'.length)
    if (req.method !== 'GET' || !m || legacy) return pass(req, res)
    http.get({ host: 'localhost', port: plc.port, path: `/${decodeURIComponent(m[1])}/data`, agent: false }, (r) => {
      let body = ''
      r.on('data', (x) => { body += x })
      r.on('end', () => {
        if (r.statusCode !== 200) return pass(req, res)
        const d = JSON.parse(body)
        const context = ['https://www.w3.org/ns/did/v1', 'https://w3id.org/security/multikey/v1']
        const verificationMethod = Object.entries(d.verificationMethods).map(([id, key]) => {
          const ctx = key.startsWith('did:key:zQ3s') ? 'https://w3id.org/security/suites/secp256k1-2019/v1' : key.startsWith('did:key:zDn') ? 'https://w3id.org/security/suites/ecdsa-2019/v1' : null
          if (ctx && !context.includes(ctx)) context.push(ctx)
          return { id: `${d.did}#${id}`, type: 'Multikey', controller: d.did, publicKeyMultibase: key.replace('did:key:', '') }
        })
        const service = Object.entries(d.services).map(([id, s]) => ({ id: `#${id}`, type: s.type, serviceEndpoint: s.endpoint }))
        res.writeHead(200, { 'content-type': 'application/did+ld+json; charset=utf-8', 'access-control-allow-origin': '*' })
        res.end(JSON.stringify({ '@context': context, id: d.did, alsoKnownAs: d.alsoKnownAs, verificationMethod, service }))
      })
    }).on('error', () => pass(req, res))
  })
}
