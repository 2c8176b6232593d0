// Runs the JavaScript package for JavaScriptState (javascript_state.rb): node javascript_state.mjs FOLDER
// Reads one request a line, in JSON, and writes one response a line. Ends with its input.
import { createInterface } from "node:readline"
import { pathToFileURL } from "node:url"

const load = (name) => import(pathToFileURL(`${process.argv[2]}/${name}/dist/index.js`))
const { DurableStream } = await load("client")
const { MaterializedState, createStateSchema, isChangeEvent, isControlEvent } = await load("state")

const anything = { "~standard": { version: 1, vendor: "specs", validate: (value) => ({ value }) } }

// The package's helpers make the events of changes. They cannot make those whose value is null, nor controls.
function eventOf(change, collections) {
  const { operation, type, key, value, oldValue, headers } = change
  if (!operation) return change
  if (operation !== "delete" && value === null) {
    return { type, key, value, old_value: oldValue, headers: { ...headers, operation } }
  }
  return collections[type][operation]({ key, value, oldValue, headers })
}

const requests = {
  async write({ url, changes }) {
    const types = new Set(changes.map((change) => change.type).filter(Boolean))
    const definitions = Object.fromEntries(
      [...types].map((type, index) => [`collection${index}`, { schema: anything, type, primaryKey: "id" }]),
    )
    const schema = createStateSchema(definitions)
    const collections = Object.fromEntries(Object.values(schema).map((collection) => [collection.type, collection]))
    const stream = new DurableStream({ url, contentType: "application/json" })
    await Promise.all(changes.map((change) => stream.append(JSON.stringify(eventOf(change, collections)))))
  },

  // The entries of each type that has any, in their order.
  async materialize({ url }) {
    const state = new MaterializedState()
    const response = await new DurableStream({ url }).stream({ json: true, live: false })
    for (const event of await response.json()) {
      if (isChangeEvent(event)) state.apply(event)
      else if (isControlEvent(event) && event.headers.control === "reset") state.clear()
    }
    return state.types.map((type) => [type, [...state.getType(type)]]).filter(([, entries]) => entries.length > 0)
  },
}

for await (const line of createInterface({ input: process.stdin })) {
  const { request, ...options } = JSON.parse(line)
  const response = await requests[request](options).then(
    (result) => ({ result: result ?? null }),
    (error) => ({ error: `${error.stack}` }),
  )
  console.log(JSON.stringify(response))
}
