// The Node reference server, in memory: node streams.mjs PACKAGE. Writes its URL to file descriptor 3, because its log
// goes to standard output. Ends by a signal.
import { writeFileSync } from "node:fs"
import { pathToFileURL } from "node:url"

const { DurableStreamTestServer } = await import(pathToFileURL(`${process.argv[2]}/dist/index.js`))
const server = new DurableStreamTestServer({ host: "127.0.0.1", port: 0 })
writeFileSync(3, `${await server.start()}\n`)
