# frozen_string_literal: true

# The results of operations: frozen structs, readable as methods, by `[:symbol]`, with `to_h` and by pattern matching.
# The library creates them with the class method `of`, which saves the Hash that keyword arguments cost.
module DurableStreams
  # Makes `offset` an alias of `next_offset` in every way to read a value.
  # @api private
  module OffsetAlias
    # The same as `next_offset`: where to continue reading.
    # @return [String, nil]
    def offset
      next_offset
    end

    # @param member [Symbol, String, Integer]
    # @return [Object]
    # @raise [NameError, IndexError] if there is no such member
    def [](member)
      super(OffsetAlias.resolve(member))
    end

    # @param member [Symbol, String, Integer]
    # @param path [Array] further keys
    # @return [Object, nil]
    def dig(member, *path)
      super(OffsetAlias.resolve(member), *path)
    end

    # All members, and `offset` beside `next_offset`.
    # @return [Hash{Symbol => Object}]
    def to_h(&block)
      hash = super().merge!(offset: next_offset)
      block ? hash.to_h(&block) : hash
    end

    # @param keys [Array<Symbol>, nil]
    # @return [Hash{Symbol => Object}]
    def deconstruct_keys(keys)
      keys ? to_h.slice(*keys) : to_h
    end

    # @param member [Symbol, String, Integer]
    # @return [Symbol, String, Integer]
    def self.resolve(member)
      [:offset, "offset"].include?(member) ? :next_offset : member
    end
  end

  # For results of writes that may be repetitions.
  # @api private
  module DuplicateFlag
    # @return [Boolean] whether the server had already stored the data
    def duplicate?
      duplicate ? true : false
    end
  end

  # The result of an append.
  AppendResult = Struct.new(:next_offset, :duplicate, keyword_init: true) do
    include DuplicateFlag

    # @!attribute [r] next_offset
    #   @return [String, nil] the stream's end after the append. Can be nil only if {#duplicate?}: some servers do
    #   not name it then
    # @!attribute [r] duplicate
    #   @return [Boolean] whether the server had already stored the data

    # @api private
    # @param next_offset [String, nil]
    # @param duplicate [Boolean]
    # @return [AppendResult]
    def self.of(next_offset, duplicate)
      result = allocate
      result.next_offset = next_offset
      result.duplicate = duplicate
      result.freeze
    end

    # @param next_offset [String, nil]
    # @param duplicate [Boolean]
    def initialize(next_offset: nil, duplicate: false)
      super
      freeze
    end
  end

  # The result of close_stream.
  CloseResult = Struct.new(:final_offset, keyword_init: true) do
    # @!attribute [r] final_offset
    #   @return [String, nil] the offset of the stream's end, which is final. nil if the response that reports the
    #     close does not have it, and the HEAD request for it fails

    # @param final_offset [String, nil]
    def initialize(final_offset: nil)
      super
      freeze
    end
  end

  # The result of head.
  HeadResult = Struct.new(:exists, :content_type, :next_offset, :etag, :cache_control, :stream_closed, :ttl_seconds,
                          :expires_at, keyword_init: true) do
    include OffsetAlias

    # @!attribute [r] exists
    #   @return [Boolean] always true: head raises if the stream does not exist
    # @!attribute [r] content_type
    #   @return [String, nil] as the server sent it
    # @!attribute [r] next_offset
    #   @return [String, nil] the stream's end: where the next append goes
    # @!attribute [r] etag
    #   @return [String, nil]
    # @!attribute [r] cache_control
    #   @return [String, nil]
    # @!attribute [r] stream_closed
    #   @return [Boolean] whether the stream is closed and accepts no more data
    # @!attribute [r] ttl_seconds
    #   @return [Integer, nil] lifetime in seconds; every access restarts it
    # @!attribute [r] expires_at
    #   @return [Time, nil] when the stream expires

    # Takes the attributes.
    # @param offset [String, nil] another name of next_offset
    def initialize(exists: true, content_type: nil, offset: nil, next_offset: offset, etag: nil, cache_control: nil,
                   stream_closed: false, ttl_seconds: nil, expires_at: nil)
      super(exists: exists, content_type: content_type, next_offset: next_offset, etag: etag,
            cache_control: cache_control, stream_closed: stream_closed ? true : false, ttl_seconds: ttl_seconds,
            expires_at: expires_at)
      freeze
    end

    # @return [Boolean]
    def exists?
      exists ? true : false
    end

    # @return [Boolean] whether the stream is closed and accepts no more data
    def closed?
      stream_closed
    end
    alias_method :stream_closed?, :closed?
  end

  # The result of a producer's acknowledged append.
  ProducerResult = Struct.new(:next_offset, :duplicate, :epoch, :seq, keyword_init: true) do
    include DuplicateFlag

    # @!attribute [r] next_offset
    #   @return [String, nil] the stream's end after the message's batch
    # @!attribute [r] duplicate
    #   @return [Boolean] whether the server had already stored the batch
    # @!attribute [r] epoch
    #   @return [Integer] the epoch of its batch
    # @!attribute [r] seq
    #   @return [Integer] the sequence number of its batch

    # @param next_offset [String, nil]
    # @param duplicate [Boolean]
    # @param epoch [Integer, nil]
    # @param seq [Integer, nil]
    def initialize(next_offset: nil, duplicate: false, epoch: nil, seq: nil)
      super
      freeze
    end
  end
end
