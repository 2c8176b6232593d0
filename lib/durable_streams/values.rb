# frozen_string_literal: true

# What the calls return: frozen structs, readable as methods, by `[:symbol]`, through `to_h` and by pattern matching.
# The class method `of` is how the library builds them: without the Hash that keywords cost.
module DurableStreams
  # Makes `offset` another name of `next_offset` in every way of reading a value.
  # @api private
  module OffsetAlias
    # The same as `next_offset`: where to go on reading.
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
    # @param path [Array] what to look up further in
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

  # What results of writes have that may be of a repetition.
  # @api private
  module DuplicateFlag
    # @return [Boolean] whether the server had the data already
    def duplicate?
      duplicate ? true : false
    end
  end

  # What an append returns.
  AppendResult = Struct.new(:next_offset, :duplicate, keyword_init: true) do
    include DuplicateFlag

    # @!attribute [r] next_offset
    #   @return [String] the stream's end after the append
    # @!attribute [r] duplicate
    #   @return [Boolean] whether the server had the data already

    # @api private
    # @param next_offset [String]
    # @return [AppendResult]
    def self.of(next_offset)
      result = allocate
      result.next_offset = next_offset
      result.duplicate = false
      result.freeze
    end

    # @param next_offset [String, nil]
    # @param duplicate [Boolean]
    def initialize(next_offset: nil, duplicate: false)
      super
      freeze
    end
  end

  # What close_stream returns.
  CloseResult = Struct.new(:final_offset, keyword_init: true) do
    # @!attribute [r] final_offset
    #   @return [String] the stream's end, for good

    # @param final_offset [String, nil]
    def initialize(final_offset: nil)
      super
      freeze
    end
  end

  # What head returns.
  HeadResult = Struct.new(:exists, :content_type, :next_offset, :etag, :cache_control, :stream_closed, :ttl_seconds,
                          :expires_at, keyword_init: true) do
    include OffsetAlias

    # @!attribute [r] exists
    #   @return [Boolean] true: head raises for a stream that does not exist
    # @!attribute [r] content_type
    #   @return [String, nil] as the server gives it
    # @!attribute [r] next_offset
    #   @return [String, nil] the stream's end: where the next append goes
    # @!attribute [r] etag
    #   @return [String, nil]
    # @!attribute [r] cache_control
    #   @return [String, nil]
    # @!attribute [r] stream_closed
    #   @return [Boolean] whether the stream takes no more data
    # @!attribute [r] ttl_seconds
    #   @return [Integer, nil] lifetime in seconds, counted anew from every access
    # @!attribute [r] expires_at
    #   @return [Time, nil] when the stream expires

    # @param members [Hash] as the attributes; `offset` is another name of `next_offset`
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

    # @return [Boolean] whether the stream takes no more data
    def closed?
      stream_closed
    end
    alias_method :stream_closed?, :closed?
  end

  # What a producer's acknowledged append gave.
  ProducerResult = Struct.new(:next_offset, :duplicate, :epoch, :seq, keyword_init: true) do
    include DuplicateFlag

    # @!attribute [r] next_offset
    #   @return [String, nil] the stream's end after the batch that the message went out with
    # @!attribute [r] duplicate
    #   @return [Boolean] whether the server had the batch already
    # @!attribute [r] epoch
    #   @return [Integer] the epoch that it was sent in
    # @!attribute [r] seq
    #   @return [Integer] the number of its batch

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
