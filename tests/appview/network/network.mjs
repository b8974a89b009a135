// Bluesky's own PLC, PDS, AppView and labeler (Ozone) in this process, and a bridge from the PDS's firehose to Jetstream's wire.
// Ports are free ones. One line of JSON on stdout says where everything is; ends when stdin does.
//   node network.mjs ENDPOINT     ENDPOINT is where the feed's did:plc says that its service is
import { setTimeout as sleep } from 'node:timers/promises'
import { Secp256k1Keypair } from '@atproto/crypto'
import { TestNetwork } from '@atproto/dev-env'
import * as plc from '@did-plc/lib'
import { startBridge } from './bridge.mjs'
import { serveModernDidDocs } from './documents.mjs'

const log = (...words) => console.error('[network]', ...words)

let network, bridge, closing = false
async function close(why, code = 0) {
  if (closing) return
  closing = true
  log('stopping:', why)
  setTimeout(() => process.exit(code), 10_000).unref()
  try { await bridge?.close() } catch (e) { log('bridge:', e.message) }
  // It handles what is queued first, which may fail when the test stopped in the middle of something.
  try { await network?.close() } catch (e) { log('network:', e.message) }
  process.exit(code)
}
for (const s of ['SIGINT', 'SIGTERM']) process.on(s, () => void close(s))
process.stdin.on('end', () => void close('stdin ended')).on('error', () => void close('stdin failed')).resume()
process.on('unhandledRejection', (e) => log('unhandled rejection:', e))

async function createFeedDid(endpoint) {
  const key = await Secp256k1Keypair.create({ exportable: true })
  const operation = await plc.signOperation({
    type: 'plc_operation', verificationMethods: { atproto: key.did() }, rotationKeys: [key.did()], alsoKnownAs: [],
    services: { bsky_fg: { type: 'BskyFeedGenerator', endpoint } }, prev: null,
  }, key)
  const did = await plc.didForCreateOp(operation)
  await new plc.Client(network.plc.url).sendOperation(did, operation)
  return did
}

// Until the AppView and the bridge have all that the PDS has said so far.
async function settle() {
  await network.pds.processAll()
  await network.processFullSubscription(120_000)
  await network.bsky.bsyncSub.processAll(await network.bsync.getStreamHeads(), 120_000)
  const last = await network.pds.ctx.sequencer.curr()
  for (const end = Date.now() + 120_000; bridge.lastSeq() < last; await sleep(10)) {
    if (Date.now() > end) throw new Error(`the bridge is at ${bridge.lastSeq()} of ${last}`)
  }
}

// What a moderator of the labeler says of a post or an account, or takes back.
async function label({ subject, val, neg }) {
  await network.ozone.getModClient().emitEvent({
    event: {
      $type: 'tools.ozone.moderation.defs#modEventLabel', createLabelVals: neg ? [] : [val], negateLabelVals: neg ? [val] : [],
    },
    subject,
  })
}

network = await TestNetwork.create({
  dbPostgresUrl: process.env.DB_POSTGRES_URL,
  dbPostgresSchema: process.env.DB_POSTGRES_SCHEMA,
  pds: { hostname: 'localhost', enableDidDocWithSession: true },
  // 5 s in production. Here all of it shares a machine that may be busy, and this is about truth.
  bsky: { feedGenSkeletonTimeout: 20_000 },
  ozone: { chatUrl: 'http://localhost:1', chatDid: 'did:example:chat', dbMaterializedViewRefreshIntervalMs: 300_000 },
})
// Older than the directory's: what it answers is brought to today's form.
serveModernDidDocs(network.plc)
bridge = await startBridge({ pds: network.pds.url, plc: network.plc.url, settle, label, log })
process.stdout.write(JSON.stringify({
  plc: network.plc.url,
  pds: network.pds.url,
  appview: network.bsky.url,
  jetstream: bridge.url,
  labeler: network.ozone.url.replace('http:', 'ws:'),
  control: bridge.control,
  feed_did: await createFeedDid(process.argv[2]),
}) + '\n')
