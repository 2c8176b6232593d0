import { Conversation } from "./conversation.js"
import { render } from "./markdown.js"

const $ = (id) => document.getElementById(id)
// Milliseconds.
const RECONNECT = 1500
const LATE = 5000
const REFRESH = 2000

let id // of the conversation, undefined before its first message
let conversation
let source // the EventSource
let lastEventId = ""
let pause = 0 // milliseconds before the next try
let reconnecting // timers
let late
const changed = new Set() // exchanges that the next frame shows

// ---- The stream ----

// Each event has an id, a position in the stream. The EventSource reconnects with the last one by itself, so this page
// gets each event once. Only if the server refused to respond (EventSource is CLOSED then) must the page try again.
function follow() {
  const offset = lastEventId && `?offset=${encodeURIComponent(lastEventId)}`
  source = new EventSource(`/conversations/${id}/events${offset}`)
  const current = source
  source.onopen = () => {
    pause = 0
    showConnection("")
  }
  source.onmessage = (event) => {
    lastEventId = event.lastEventId
    apply(JSON.parse(event.data))
  }
  source.onerror = () => {
    if (current !== source) return
    showConnection("Reconnecting…")
    if (source.readyState !== EventSource.CLOSED) return

    reconnecting = setTimeout(again, pause, id)
    pause = RECONNECT
  }
}

async function again(from) {
  const list = await loadList()
  if (from !== id) return

  if (list && !list.some((entry) => entry.id === id)) showMissing()
  else follow()
}

function unfollow() {
  clearTimeout(reconnecting)
  clearTimeout(late)
  source?.close()
  source = undefined
}

function apply(event) {
  const exchange = conversation.apply(event)
  if (!exchange) return

  if (changed.size === 0) requestAnimationFrame(show)
  changed.add(exchange)
  if (event.type === "user") announce("Writing a reply")
  if (event.type === "done") announce("The reply is complete")
  if (event.type === "cancelled") announce("The reply was stopped")
  if (event.type !== "token") refreshList(0)

  // The server of this page may be up, and the one behind it down.
  clearTimeout(late)
  showConnection("")
  if (conversation.writing) late = setTimeout(showConnection, LATE, "Waiting for the next word…")
}

// ---- Messages ----

function show() {
  const follows = atEnd()
  for (const exchange of changed) showExchange(exchange)
  changed.clear()
  showState()
  if (follows) scrollToEnd()
}

function showExchange(exchange) {
  const item = $(`exchange-${exchange.id}`) ?? addExchange(exchange)
  const reply = item.querySelector(".reply")
  reply.replaceChildren(render(exchange.reply))
  item.className = exchange.state
  item.querySelector(".note").hidden = exchange.state !== "cancelled"
}

function addExchange(exchange) {
  const item = document.createElement("li")
  item.id = `exchange-${exchange.id}`
  const prompt = document.createElement("div")
  prompt.className = "prompt"
  prompt.append(hidden("You: "), exchange.prompt)
  const reply = document.createElement("div")
  reply.className = "reply"
  const note = document.createElement("p")
  note.className = "note"
  note.textContent = "Stopped"
  item.append(prompt, hidden("Reply: "), reply, note)
  $("exchanges").append(item)
  return item
}

function hidden(text) {
  const span = document.createElement("span")
  span.className = "hidden"
  span.textContent = text
  return span
}

function showState() {
  const writing = Boolean(conversation.writing)
  $("scroll").setAttribute("aria-busy", writing) // read it out when it is complete
  const focused = document.activeElement === (writing ? $("send") : $("stop"))
  $("send").hidden = writing
  $("stop").hidden = !writing
  if (focused) $(writing ? "stop" : "send").focus()
  $("send").disabled = !$("prompt").value.trim()
  $("title").textContent = conversation.title ?? "New chat"
  document.title = conversation.title ? `${conversation.title} · Durable chat` : "Durable chat"
}

function showMissing() {
  $("missing").hidden = false
  $("composer").hidden = true
  showConnection("")
}

function atEnd() {
  const box = $("scroll")
  return box.scrollHeight - box.scrollTop - box.clientHeight < 80
}

function scrollToEnd() {
  $("scroll").scrollTop = $("scroll").scrollHeight
}

function announce(text) {
  $("status").textContent = text
}

function showConnection(text) {
  $("connection").hidden = !text
  $("connection").textContent = text
}

function showAlert(text) {
  $("alert").hidden = !text
  $("alert").textContent = text
}

// ---- What the user does ----

function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")
}

// A message keeps its ids until it is known to have arrived, so sending it again does not add it twice.
let unsent

async function send(text) {
  if (!text || conversation.writing) return

  if (unsent?.text !== text || unsent.from !== id) unsent = { id: newId(), text, from: id, to: id ?? newId() }
  const { to } = unsent
  showAlert("")
  $("send").disabled = true
  if (await post(`/conversations/${to}/messages`, { id: unsent.id, text })) {
    unsent = undefined
    $("prompt").value = ""
    grow()
    if (!id) open(to, `/c/${to}`)
  }
  showState()
}

function stop() {
  const exchange = conversation.writing
  if (exchange) post(`/conversations/${id}/cancel`, { id: exchange.id })
}

// Returns whether the server has accepted it. If not, says why.
async function post(path, body) {
  try {
    const response = await fetch(path, {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body)
    })
    if (response.ok) return true

    showAlert((await response.json()).error)
  } catch {
    showAlert("The server cannot be reached. Please try again in a moment.")
  }
  return false
}

// ---- Conversations ----

let drawn = ""
let refreshing // timer

function refreshList(delay) {
  clearTimeout(refreshing)
  refreshing = setTimeout(loadList, delay)
}

// Returns the list, or undefined if the server is unavailable.
async function loadList() {
  try {
    const response = await fetch("/conversations")
    if (!response.ok) return undefined

    const list = await response.json()
    const text = JSON.stringify([list, id])
    if (text !== drawn) drawList(list)
    drawn = text
    if (list.some((entry) => entry.state === "writing")) refreshList(REFRESH)
    return list
  } catch {
    return undefined
  }
}

function drawList(list) {
  $("none").hidden = list.length > 0
  $("conversations").replaceChildren(...list.map((entry) => {
    const item = document.createElement("li")
    const link = document.createElement("a")
    link.href = `/c/${entry.id}`
    link.textContent = entry.title
    if (entry.id === id) link.setAttribute("aria-current", "page")
    if (entry.state === "writing") link.append(hidden(", being written"))
    link.className = entry.state
    item.append(link)
    return item
  }))
}

// Shows a conversation, or none. `path`: where the page is from now on, unless it is there.
function open(next, path) {
  unfollow()
  if (path) history.pushState({}, "", path)
  id = next
  conversation = new Conversation()
  lastEventId = ""
  changed.clear()
  $("exchanges").replaceChildren()
  $("empty").hidden = Boolean(id)
  $("missing").hidden = true
  $("composer").hidden = false
  $("latest").hidden = true
  showAlert("")
  showConnection("")
  showState()
  closeMenu()
  if (id) follow()
  loadList()
}

function openPath() {
  open(location.pathname.match(/^\/c\/([0-9a-f]{32})$/)?.[1])
}

// ---- The menu of small screens ----

function openMenu() {
  document.body.classList.add("menu")
  $("shade").hidden = false
  document.querySelector("main").inert = true
  $("menu").setAttribute("aria-expanded", true)
  $("new").focus()
}

function closeMenu() {
  if (!document.body.classList.contains("menu")) return

  document.body.classList.remove("menu")
  $("shade").hidden = true
  document.querySelector("main").inert = false
  $("menu").setAttribute("aria-expanded", false)
  $("menu").focus()
}

// The field is as high as its text.
function grow() {
  $("prompt").style.height = "auto"
  $("prompt").style.height = `${$("prompt").scrollHeight}px`
}

$("composer").addEventListener("submit", (event) => {
  event.preventDefault()
  send($("prompt").value.trim())
})
$("prompt").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return

  event.preventDefault()
  send($("prompt").value.trim())
})
$("prompt").addEventListener("input", () => {
  grow()
  $("send").disabled = !$("prompt").value.trim()
})
$("suggestions").addEventListener("click", (event) => {
  const button = event.target.closest("button")
  if (!button) return

  $("prompt").value = button.textContent
  send(button.textContent)
})
$("stop").addEventListener("click", stop)
$("latest").addEventListener("click", scrollToEnd)
$("scroll").addEventListener("scroll", () => { $("latest").hidden = atEnd() })
$("menu").addEventListener("click", openMenu)
$("shade").addEventListener("click", closeMenu)
$("sidebar").addEventListener("click", (event) => {
  const link = event.target.closest("a")
  if (!link || event.metaKey || event.ctrlKey || event.shiftKey) return

  event.preventDefault()
  open(link.pathname.split("/")[2], link.pathname)
  $("prompt").focus()
})
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return

  if (document.body.classList.contains("menu")) closeMenu()
  else stop()
})
document.addEventListener("visibilitychange", () => { if (!document.hidden) loadList() })
window.addEventListener("popstate", openPath)
// A browser may keep a page that was left, for its back button, and with it the connection.
window.addEventListener("pagehide", unfollow)
window.addEventListener("pageshow", (event) => { if (event.persisted && id) follow() })
openPath()
