# frozen_string_literal: true

# The protocol's header names, in the lower case in which {DurableStreamError#headers} holds them.
module DurableStreams
  # Position after the data of an answer; what a reader saves and hands back as its offset.
  STREAM_NEXT_OFFSET_HEADER = "stream-next-offset"
  # "true" on an answer after which nothing more exists right now.
  STREAM_UP_TO_DATE_HEADER = "stream-up-to-date"
  # Opaque value that a live reader sends back with its next request, so that caches can merge requests.
  STREAM_CURSOR_HEADER = "stream-cursor"
  # Lifetime of a stream in whole seconds, counted anew from every access.
  STREAM_TTL_HEADER = "stream-ttl"
  # Moment at which a stream expires, as RFC 3339 has it.
  STREAM_EXPIRES_AT_HEADER = "stream-expires-at"
  # Writer's sequence value: byte-wise increasing per stream.
  STREAM_SEQ_HEADER = "stream-seq"
  # "true" on a request that closes a stream, and on answers of a closed one.
  STREAM_CLOSED_HEADER = "stream-closed"
  # Server path of the stream that a new one is a fork of.
  STREAM_FORKED_FROM_HEADER = "stream-forked-from"
  # Offset in the source at which a fork begins.
  STREAM_FORK_OFFSET_HEADER = "stream-fork-offset"
  # Messages (JSON) or bytes past the fork offset at which a fork begins.
  STREAM_FORK_SUB_OFFSET_HEADER = "stream-fork-sub-offset"
  # Name of an idempotent producer.
  PRODUCER_ID_HEADER = "producer-id"
  # Epoch of an idempotent producer: a higher one fences the lower ones off.
  PRODUCER_EPOCH_HEADER = "producer-epoch"
  # Number of a producer's batch, from 0 in each epoch.
  PRODUCER_SEQ_HEADER = "producer-seq"
  # The batch number that the server waits for, on a sequence gap.
  PRODUCER_EXPECTED_SEQ_HEADER = "producer-expected-seq"
  # The batch number that the server got instead, on a sequence gap.
  PRODUCER_RECEIVED_SEQ_HEADER = "producer-received-seq"
end
