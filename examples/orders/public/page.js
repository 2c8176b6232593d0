// Shows the state that the stream of changes describes, and places orders.
const SHOWN = 20

// The state: a Map of values by key, for each type. See docs/state.md.
const state = new Map()

function apply({ type, key, value, headers }) {
  if (headers.control === "reset") state.clear()
  if (!headers.operation) return
  if (!state.has(type)) state.set(type, new Map())
  if (headers.operation === "delete") state.get(type).delete(key)
  else state.get(type).set(key, value)
}

// Continues where it was after each lost connection: EventSource sends the id of the last event.
const events = new EventSource("events")
events.onopen = () => show("connection", "live")
events.onerror = () => show("connection", "reconnecting")
events.addEventListener("end", () => events.close())
events.onmessage = (event) => {
  apply(JSON.parse(event.data))
  draw()
}

let drawing = false

// Draws once a frame, however many events come.
function draw() {
  if (drawing) return
  drawing = true
  requestAnimationFrame(() => {
    drawing = false
    const orders = state.get("order") ?? new Map()
    const shipments = state.get("shipment") ?? new Map()
    show("ordered", orders.size)
    show("shipped", shipments.size)
    show("waiting", orders.size - shipments.size)
    show("workers", byWorker(shipments).map(([worker, count]) => `${worker}: ${count}`).join(", "))
    const rows = [...orders].slice(-SHOWN).reverse()
    document.getElementById("orders").replaceChildren(
      ...rows.map(([number, order]) => row(number, order, shipments.get(number))),
    )
  })
}

function byWorker(shipments) {
  const counts = new Map()
  for (const { worker } of shipments.values()) counts.set(worker, (counts.get(worker) ?? 0) + 1)
  return [...counts].sort()
}

function row(number, order, shipment) {
  const cells = [number.slice(0, 8), order.product, order.quantity, shipment?.worker ?? ""]
  const element = document.createElement("tr")
  element.className = shipment ? "shipped" : "waiting"
  element.append(...cells.map((text) => Object.assign(document.createElement("td"), { textContent: text })))
  return element
}

function show(id, text) {
  document.getElementById(id).textContent = text
}

// Sends an order until there is a response. Its number makes it the same order each time.
async function order(product, quantity) {
  const body = JSON.stringify({ number: crypto.randomUUID(), product, quantity })
  for (;;) {
    const response = await fetch("orders", { method: "POST", body }).catch(() => null)
    if (response && response.status < 500) return
    await new Promise((resolve) => setTimeout(resolve, 500))
  }
}

document.getElementById("form").addEventListener("submit", async (event) => {
  event.preventDefault()
  const { product, quantity } = event.target
  for (let left = Number(event.submitter.value); left > 0; left -= 1) await order(product.value, Number(quantity.value))
})
