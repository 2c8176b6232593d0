# frozen_string_literal: true

# The protocol's header names, in lower case as in {DurableStreamError#headers}.
module DurableStreams
  # Response: the offset after the response's data. Readers save it and continue there.
  STREAM_NEXT_OFFSET_HEADER = "stream-next-offset"
  # Response: "true" if the stream has no more data at the moment.
  STREAM_UP_TO_DATE_HEADER = "stream-up-to-date"
  # An opaque value of the response that a live read sends with its next request, so that caches can merge requests.
  STREAM_CURSOR_HEADER = "stream-cursor"
  # Lifetime of a stream in whole seconds. Every access restarts it.
  STREAM_TTL_HEADER = "stream-ttl"
  # Time at which a stream expires, in RFC 3339 format.
  STREAM_EXPIRES_AT_HEADER = "stream-expires-at"
  # A writer's sequence value: must increase bytewise within a stream.
  STREAM_SEQ_HEADER = "stream-seq"
  # "true" on a request that closes a stream, and on responses for a closed stream.
  STREAM_CLOSED_HEADER = "stream-closed"
  # Path of the source stream of a fork, on the same server.
  STREAM_FORKED_FROM_HEADER = "stream-forked-from"
  # Offset in the source at which the fork begins.
  STREAM_FORK_OFFSET_HEADER = "stream-fork-offset"
  # Number of messages (JSON) or bytes after the fork offset at which the fork begins.
  STREAM_FORK_SUB_OFFSET_HEADER = "stream-fork-sub-offset"
  # Id of an idempotent producer.
  PRODUCER_ID_HEADER = "producer-id"
  # Epoch of an idempotent producer: a higher epoch fences lower ones.
  PRODUCER_EPOCH_HEADER = "producer-epoch"
  # Sequence number of a producer's batch, from 0 in each epoch.
  PRODUCER_SEQ_HEADER = "producer-seq"
  # Response to a sequence gap: the sequence number that the server expected.
  PRODUCER_EXPECTED_SEQ_HEADER = "producer-expected-seq"
  # Response to a sequence gap: the sequence number that the server received.
  PRODUCER_RECEIVED_SEQ_HEADER = "producer-received-seq"
end
