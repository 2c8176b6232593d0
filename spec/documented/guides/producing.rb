# frozen_string_literal: true

# The stream is closed now: the producer with callbacks fails.
GuideProgram.finish do
  ObjectSpace.each_object(DurableStreams::Producer).reject(&:closed?).each { |producer| producer << { id: 9 } }
end
