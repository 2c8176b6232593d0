# frozen_string_literal: true

# The nodes of a replicated server fail under load. Afterwards everything is read back and compared with what the
# library reported. CLUSTER_RUNS=10 runs it ten times.
RSpec.describe DurableStreams, "while nodes fail", :cluster, without: :gc_pressure do
  Integer(ENV.fetch("CLUSTER_RUNS", "1"), 10).times do |number|
    it "loses and repeats nothing, and reports every append as it is (run #{number + 1})" do
      started = now
      with_cluster(groups: 1) do |cluster|
        run = FailingCluster.new(cluster, written: cluster_path("written"), appended: cluster_path("appended")).run
        RSpec.configuration.reporter.message("#{(now - started).round} s; appends: #{run.appends.counts}, " \
                                             "longest: #{run.appends.longest}")
        expect(run.differences).to eq([])
        expect(run.lies).to eq([])
        expect(run.appends.errors(:exactly_once)).to eq([])
        expect(run.appends.counts.values).to all(include(stored: be > 100))
      end
    end
  end
end
