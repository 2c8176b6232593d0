# frozen_string_literal: true

class PaymentsController < ApplicationController
  def create
    created(Payment.create!(order_id: params.require(:order_id)).id)
  end
end
