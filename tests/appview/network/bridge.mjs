// Jetstream's v1 wire on top of one PDS's firehose: ws://HOST:PORT/subscribe?wantedCollections=..&cursor=..
// Frames, blocks, signatures and proofs are decoded and checked by @atproto/sync.
import http from 'node:http'
import { IdResolver } from '@atproto/identity'
import { lexToJson } from '@atproto/lex-json'
import { Firehose } from '@atproto/sync'
import { WebSocketServer } from 'ws'

// Accounts and identities are told to everybody.
function wants(collections, event) {
  if (!collections.length || !event.collection) return true
  return collections.some((c) => c === event.collection || (c.endsWith('.*') && event.collection.startsWith(c.slice(0, -1))))
}

export async function startBridge({ pds, plc, settle, label, log }) {
  const events = [] // { time_us, collection, json }
  const clients = new Set()
  let lastUs = 0, lastSeq = 0, complaints = 0
  const beat = () => push({ did: 'did:plc:bystanderaaaaaaaaaaaaaaa' }, { kind: 'identity', identity: { did: 'did:plc:bystanderaaaaaaaaaaaaaaa', seq: 0, time: new Date().toISOString() } })

  function push(event, body) {
    // When this server witnessed it, in strictly growing microseconds.
    lastUs = Math.max(lastUs + 1, Math.floor((performance.timeOrigin + performance.now()) * 1000))
    const json = JSON.stringify({ did: event.did, time_us: lastUs, ...body })
    events.push({ time_us: lastUs, collection: body.commit?.collection, json })
    for (const client of clients) client.pump()
  }

  function handle(event) {
    const { did, collection, rkey, rev, seq, time } = event
    if (event.event === 'create' || event.event === 'update') {
      push(event, { kind: 'commit', commit: { rev, operation: event.event, collection, rkey, record: lexToJson(event.record), cid: event.cid.toString() } })
    } else if (event.event === 'delete') {
      push(event, { kind: 'commit', commit: { rev, operation: 'delete', collection, rkey } })
    } else if (event.event === 'identity') {
      const handle = event.didDocument?.alsoKnownAs?.find((name) => name.startsWith('at://'))?.slice(5)
      push(event, { kind: 'identity', identity: { did, ...(handle ? { handle } : {}), seq, time } })
    } else if (event.event === 'account') {
      push(event, { kind: 'account', account: { active: event.active, did, seq, ...(event.status ? { status: event.status } : {}), time } })
    } // a sync event is not part of this wire
    lastSeq = Math.max(lastSeq, seq)
  }

  const firehose = new Firehose({
    service: pds.replace(/^http/, 'ws'),
    // The resolver's own fetch refuses loopback, and here all is loopback.
    idResolver: new IdResolver({ plcUrl: plc, fetch: globalThis.fetch }),
    unauthenticatedHandles: true, // .test has no DNS
    getCursor: () => lastSeq,
    subscriptionReconnectDelay: 500,
    // An account that moved in from another PDS has early commits that no longer verify.
    onError: (error) => { if (++complaints <= 5) log('firehose:', error.message, error.cause?.message ?? '') },
    handleEvent: handle,
  })
  firehose.start().catch((error) => log('firehose ended:', error.message))

  const server = http.createServer(async (request, response) => {
    const send = (code, value) => { response.writeHead(code, { 'content-type': 'application/json' }); response.end(JSON.stringify(value)) }
    try {
      if (request.url === '/label') {
        let body = ''
        for await (const piece of request) body += piece
        await label(JSON.parse(body))
        return send(200, {})
      }
      if (request.url !== '/settle') return send(404, {})
      await settle()
      // Whoever has heard this has heard all that was before, also to a tenth of a second.
      await new Promise((resolve) => setTimeout(resolve, 400))
      beat()
      send(200, { last_us: lastUs })
    } catch (error) {
      send(500, { message: error.message })
    }
  })
  const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false })
  server.on('upgrade', (request, socket, head) => {
    socket.on('error', () => {})
    const url = new URL(request.url, 'http://localhost'), query = url.searchParams
    const cursor = query.get('cursor') ?? ''
    if (url.pathname !== '/subscribe') return socket.end('HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
    if (!/^\d*$/.test(cursor) || query.get('compress') === 'true') return socket.end('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
    let next = events.length // without a cursor, or with one of the future: what comes from now on
    if (cursor) {
      const found = events.findIndex((event) => event.time_us >= Number(cursor))
      if (found >= 0) next = found
    }
    const collections = query.getAll('wantedCollections')
    sockets.handleUpgrade(request, socket, head, (client) => {
      client.pump = () => {
        while (next < events.length && client.readyState === 1) {
          const event = events[next++]
          if (wants(collections, event)) client.send(event.json)
        }
      }
      const ping = setInterval(() => client.ping(), 10_000)
      client.on('close', () => { clearInterval(ping); clients.delete(client) })
      client.on('error', () => {})
      clients.add(client)
      client.pump()
    })
  })
  await new Promise((resolve, reject) => { server.once('error', reject); server.listen(0, '127.0.0.1', resolve) })
  // The network is never silent: a listener takes silence for a broken line.
  const beating = setInterval(beat, 5000)
  const { port } = server.address()
  return {
    url: `ws://127.0.0.1:${port}`,
    control: `http://127.0.0.1:${port}`,
    lastSeq: () => lastSeq,
    async close() {
      clearInterval(beating)
      for (const client of clients) client.terminate()
      await Promise.race([firehose.destroy(), new Promise((resolve) => setTimeout(resolve, 1500))])
      sockets.close()
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
