# frozen_string_literal: true

require "durable_streams/state"
require "tmpdir"

# examples/orders while its processes are killed.
description = "examples/orders"
ServerHelpers.skipped << description if OrdersExample.missing
OrdersExample.missing || RSpec.describe(description) do
  around { |example| Dir.mktmpdir { |folder| (@folder = folder) && example.run } }
  after do |example|
    RSpec.configuration.reporter.message("The program's output:\n#{@shop.log}") if @shop && example.exception
    @shop&.kill
  end

  attr_reader :folder

  def start(**options)
    @shop = OrdersExample.new(folder, **options)
  end

  def shop
    @shop || start
  end

  # Places orders from several threads.
  # @return [Array<String>] their numbers
  def place(count, threads: 4)
    numbers = Array.new(count) { |number| "#{number}-#{SecureRandom.hex(4)}" }
    queue = Thread::Queue.new(numbers.each_with_index.to_a)
    queue.close
    Array.new(threads) do
      Thread.new do
        while (number, index = queue.pop)
          response = shop.order(number, product: %w[apples pears plums][index % 3], quantity: 1 + (index % 5))
          raise "#{response.code}: #{response.body}" unless %w[200 201].include?(response.code)

          yield index if block_given?
        end
      end
    end.each(&:join)
    numbers
  end

  def wait_until_shipped(numbers)
    shop.wait_for_state { |state| state.of("order").size == numbers.size && state.of("shipment").size == numbers.size }
  end

  # Compares what was ordered with what happened.
  def expect_each_shipped_once(numbers)
    state = wait_until_shipped(numbers)
    expect(state.to_h.transform_values(&:keys)).to match("order" => match_array(numbers),
                                                         "shipment" => match_array(numbers))
    expect(published).to match_array(numbers)
    expect([column("number", "orders"), column("order_number", "shipments")]).to all(match_array(numbers))
    expect(shop.query("select name, stock from products").to_h).to eq(expected_stock)
  end

  # @return [Array<String>] the numbers in the streams of orders
  def published
    Array.new(3) { |number| shop.stream("/orders/#{number}").read_all }.flatten.map { |change| change["key"] }
  end

  def column(name, table)
    shop.query("select #{name} from #{table}").flatten
  end

  def expected_stock
    ordered = shop.query("select product, sum(quantity) from orders group by product").to_h
    %w[apples pears plums].to_h { |product| [product, 100_000 - ordered.fetch(product, 0)] }
  end

  it "ships each order once if processes are killed at the worst moments" do
    places = ["Shop::Order#publish", # a web process that has stored an order and not published it
              "Shop::Order#update_columns", # one that has published an order and not noted it
              "DurableStreams::Checkpoint::ActiveRecord#save", # a worker in its transaction
              "Shop::Shipment.of", # a worker in its transaction, after the checkpoint
              "Shop.report"] # a worker that has shipped orders and not acked them
    start(signals: places.to_h { |place| [place, "KILL"] })
    expect_each_shipped_once(place(20))
    expect(places.map { |place| shop.signaled(place) }).to all(be_an(Integer))
  end

  it "ships each order once if a worker is frozen for longer than its lease" do
    before_save = "DurableStreams::Checkpoint::ActiveRecord#save"
    start(signals: { before_save => "STOP" })
    numbers = place(10)
    wait_until_shipped(numbers)
    shop.signal(:CONT, shop.signaled(before_save))
    expect_each_shipped_once(numbers + place(10))
  end

  it "ships each order once if processes are killed at random" do
    start
    numbers = place(120) do |index|
      case index
      when 15, 45, 75 then shop.signal(:KILL, shop.workers.sample)
      when 30, 60, 90 then shop.signal(:KILL, shop.web_processes.sample)
      end
    end
    expect_each_shipped_once(numbers)
  end

  describe "the page" do
    include_context "with a browser"

    it "shows orders and shipments, also after its web process was killed" do
      start
      page.visit(shop.url.to_s)
      page.click_button("Order", exact: true)
      expect(page).to have_text("1 ordered, 1 shipped, 0 waiting")
      expect(page.all("tr.shipped td").map(&:text)).to match([/\A\h{8}\z/, "apples", "1", /\Aworker \d+\z/])

      shop.web_processes.each { |pid| shop.signal(:KILL, pid) }
      place(5)
      expect(page).to have_text("6 ordered, 6 shipped, 0 waiting")
      console # has the lost connection
    end
  end

  it "ends in order" do
    start
    expect_each_shipped_once(place(3))
    processes = shop.processes
    expect(processes.size).to be >= 8 # with the server for streams, Puma and its two, and three workers
    expect(shop.stop).to be_success
    remaining = OrdersExample.processes.transform_values(&:last)
    expect(processes.select { |pid, command| remaining[pid] == command }).to eq({})
  end
end
