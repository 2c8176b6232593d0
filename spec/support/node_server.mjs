// Runs the Node reference server for NodeServer (node_server.rb): node node_server.mjs PACKAGE HOST PORT LONG_POLL_MS [FOLDER]
// Keeps data in the folder, or in memory; ends by a signal.
import { pathToFileURL } from "node:url"

const [folder, host, port, longPollTimeout, dataDir] = process.argv.slice(2)
const { DurableStreamTestServer } = await import(pathToFileURL(`${folder}/dist/index.js`))
const server = new DurableStreamTestServer({
  host,
  port: Number(port),
  longPollTimeout: Number(longPollTimeout),
  webhooks: true,
  dataDir,
})
console.log(`listening on ${await server.start()}`)
