# frozen_string_literal: true

# The guide skips events, which is logged.
DurableStreams.logger = nil
