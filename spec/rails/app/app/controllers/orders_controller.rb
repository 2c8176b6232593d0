# frozen_string_literal: true

class OrdersController < ApplicationController
  def create
    created(Order.create!(total: params.require(:total)).id)
  end
end
