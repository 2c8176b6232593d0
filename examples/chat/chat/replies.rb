# frozen_string_literal: true

module Chat
  # What the model knows: a few subjects, and something to say about any other.
  module Replies
    OPENINGS = ["A good one.", "Happy to help.", "Let me think out loud.", "Sure."].freeze

    HELLO = <<~TEXT
      Hello! I am a small model with a short memory and a long stream.

      I know a little about **durable streams**, I write **haiku**, I can show you some **Ruby**, and I plan things in
      **three steps**. Ask me anything, then reload this page while I write: not a word will be missing, and none will
      come twice.
    TEXT

    STREAMS = <<~TEXT
      A durable stream is a log with a URL. Writers append to it, and each reader says how far it has come.

      That is why you may reload this page in the middle of my reply:

      1. Each token that I write is appended to the stream of our conversation, exactly once.
      2. The page gets each token as an event. The event's `id` is a position in the stream.
      3. When the connection is lost, the browser asks for what comes **after** the last id.

      Nothing of our conversation is in the memory of the web server. Restart it, and I go on where I stopped. Open this
      page in a second tab, and you will see both of me type.
    TEXT

    RUBY = <<~TEXT
      Here is all that a writer needs:

      ```ruby
      client = DurableStreams::Client.new(base_url: "http://localhost:4437")
      stream = client.create("/poems", content_type: :json)

      DurableStreams::Producer.open(stream: stream, producer_id: "poet") do |producer|
        poem.each_line { |line| producer << { line: line } }
      end
      ```

      The producer sends in the background, several lines together if it can. A lost response does no harm: the same
      lines are sent again, and the server stores them once.

      And a reader is an `Enumerable`, so `stream.read_json.first(3)` gives the first three lines.
    TEXT

    HAIKU = [
      ["A log never sleeps", "each word in its own small place", "read me from the start"],
      ["The line goes quiet", "an offset waits in the dark", "the next word arrives"],
      ["Close the lid, walk home", "the river keeps what it said", "open, and it flows"]
    ].freeze

    PLAN = <<~TEXT
      Three steps, then, for %<subject>s:

      1. **Make it small.** Write down the least that would be useful tomorrow, and nothing else. Most plans fail because
         they begin with the second version.
      2. **Make it real.** Do that one thing from end to end, for one person, and watch what happens. You will learn more
         in an afternoon than in a month of meetings.
      3. **Make it last.** Keep what worked, drop what did not, and write down why. The next person to read it may well
         be you.

      If you like, tell me more about the first step, and we will go through it together.
    TEXT

    STORY = <<~TEXT
      Once upon a time there was a lighthouse keeper who wrote down every ship that passed. She never crossed out a line
      and never tore out a page.

      One night a storm put out the lamp, the clock and the radio. In the morning nobody in the harbour could say which
      ships had come in, and everybody remembered a different night.

      The keeper opened her book at yesterday's last line and read on from there. Not one ship was missing, and not one
      had come twice. They lit the lamp again, and she dipped her pen.

      Some say that this story is about %<subject>s. She would only say that it is about keeping your place.
    TEXT

    ANY = [
      "Of %<subject>s people usually ask two things: what is it for, and what happens when it breaks? To the first " \
      "there are many replies, and most of them are fashionable. To the second there are a few, and they are the " \
      "ones that you will need at three in the morning.",
      "The short version of %<subject>s: begin with the simplest thing that can work, and keep a record of every " \
      "step. With a record, you can always go back, look again, and continue from where you were.",
      "I am a very small model, so I will be honest: I do not know much about %<subject>s. What I do know is how to " \
      "say so one word at a time, without losing any of them on the way to you."
    ].freeze

    CLOSING = ["What would you like to look at next?", "Does that help?",
               "Ask me about **durable streams** if you would like to know how these words reach you."].freeze

    # The first that matches decides.
    SUBJECTS = {
      /\b(hello|hi|hey|good (morning|evening)|who are you)\b/i => ->(*) { HELLO },
      /\bhaikus?\b|\bpoems?\b/i => lambda do |subject, random|
        lines = HAIKU.sample(random: random).map { |line| "*#{line}*" }
        "#{lines.join("\\\n")}\n\nThat one was about #{subject}, in a way."
      end,
      /\bruby\b|\bcode\b/i => ->(*) { RUBY },
      /\bstor(y|ies)\b|\btale\b/i => ->(subject, _) { format(STORY, subject: subject) },
      /\bplan\b|\bsteps?\b|\bhow (do|should|can) (i|we)\b/i => ->(subject, _) { format(PLAN, subject: subject) },
      /\bstreams?\b|\bdurable\b|\boffsets?\b/i => ->(*) { STREAMS }
    }.freeze

    # Words that are not the subject of a prompt.
    SMALL = %w[a about an and are can code could do does for from give have hello hey hi how i in is it its let make me
               my of on or our plan please poem haiku should show some step steps story tell that the their them they
               this three to us was we what when where which who why will with would write you your].freeze

    class << self
      # @param prompt [String]
      # @param random [Random]
      # @return [String] a reply, in the little Markdown that the page knows
      def to(prompt, random)
        subject = subject_of(prompt)
        _, reply = SUBJECTS.find { |pattern, _| pattern.match?(prompt) }
        return reply.call(subject, random).strip if reply

        [OPENINGS.sample(random: random), format(ANY.sample(random: random), subject: subject),
         CLOSING.sample(random: random)].join("\n\n")
      end

      private

      def subject_of(prompt)
        words = prompt.scan(/[[:alpha:]][[:alnum:]'-]*/).reject { |word| SMALL.include?(word.downcase) }
        words.empty? ? "everything" : "“#{words.first(4).join(" ")}”"
      end
    end
  end
end
