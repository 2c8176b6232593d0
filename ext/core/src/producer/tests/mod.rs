//! The producer, case by case and in simulation.

mod sim;
