mod failure_rules;
mod rig;
mod rules;
mod simulation;
