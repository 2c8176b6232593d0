// A conversation as its stream tells it: a list of turns, each a message of the user and the reply to it.
export class Conversation {
  constructor() {
    this.turns = new Map()
  }

  // Takes the next event of the stream. Returns the turn that has changed, if one has.
  apply(event) {
    if (event.type === "user") {
      const turn = { id: event.id, prompt: event.text, reply: "", state: "writing" }
      this.turns.set(turn.id, turn)
      return turn
    }
    const turn = this.turns.get(event.to)
    if (turn?.state !== "writing") return undefined

    if (event.type === "token") turn.reply += event.text
    if (event.type === "done" || event.type === "cancelled") turn.state = event.type
    return turn
  }

  // The turn whose reply is being written.
  get writing() {
    return [...this.turns.values()].find((turn) => turn.state === "writing")
  }

  get title() {
    return this.turns.values().next().value?.prompt
  }
}
