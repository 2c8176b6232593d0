// A conversation as its stream tells it: a list of exchanges, each a message of the user and the reply to it.
export class Conversation {
  constructor() {
    this.exchanges = new Map()
  }

  // Takes the next event of the stream. Returns the exchange that has changed, if one has.
  apply(event) {
    if (event.type === "user") {
      const exchange = { id: event.id, prompt: event.text, reply: "", state: "writing" }
      this.exchanges.set(exchange.id, exchange)
      return exchange
    }
    const exchange = this.exchanges.get(event.to)
    if (exchange?.state !== "writing") return undefined

    if (event.type === "token") exchange.reply += event.text
    if (event.type === "done" || event.type === "cancelled") exchange.state = event.type
    return exchange
  }

  // The exchange whose reply is being written.
  get writing() {
    return [...this.exchanges.values()].find((exchange) => exchange.state === "writing")
  }

  get title() {
    return this.exchanges.values().next().value?.prompt
  }
}
