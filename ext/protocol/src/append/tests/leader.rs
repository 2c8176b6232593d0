//! The leader of a group: who leads while it waits, and how long it waits for more appends after a batch of many.

use std::time::{Duration, Instant};

use super::{TestCaller, append, follow, group, lead, next_batch};
use crate::append::{Caller, Group, LeaderAction};

#[test]
fn a_leader_that_waits_hands_over_and_finishes_what_it_has_begun() {
    let (mut group, _waiters, leader) = group(vec![append("1")]);
    let _batch = next_batch(&mut group, leader);
    let follower = follow(&mut group, append("2"));
    let second = group.leader_waits(leader).expect("a follower waits");
    assert_eq!(group.leader_waits(leader), None);
    group.leader_continues(leader);
    group.leader_continues(leader);
    assert!(matches!(group.poll_next(leader, Instant::now()), LeaderAction::End));
    assert!(!follower.has_abandoned());
    assert!(matches!(group.poll_next(second, Instant::now()), LeaderAction::Send(_)));
}

#[test]
fn a_leader_that_waited_leads_again_if_nobody_else_does() {
    let mut group = Group::default();
    let leader = lead(&mut group);
    assert_eq!(group.leader_waits(leader), None);
    group.leader_continues(leader);
    follow(&mut group, append("1"));
    assert!(group.leader_ends(leader).is_some());
}

#[test]
fn a_leader_that_waits_twice_leads_again_after_both_waits() {
    let mut group = Group::default();
    let leader = lead(&mut group);
    assert_eq!(group.leader_waits(leader), None);
    assert_eq!(group.leader_waits(leader), None);
    group.leader_continues(leader);
    lead(&mut group);
}

#[test]
fn a_leader_that_waits_and_is_cancelled_leaves_nothing_behind() {
    let mut group = Group::default();
    let leader = lead(&mut group);
    assert_eq!(group.leader_waits(leader), None);
    assert_eq!(group.leader_ends(leader), None);
    group.leader_continues(leader);
    lead(&mut group);
}

#[test]
fn after_a_batch_of_many_the_leader_waits_until_no_append_has_arrived_for_a_while() {
    let micros = Duration::from_micros;
    let (mut group, _waiters, leader) = group((0..6).map(|_| append("1")).collect());
    next_batch(&mut group, leader);
    let began = Instant::now();
    let gathers = |group: &mut Group<TestCaller>, at: u64| match group.poll_next(leader, began + micros(at)) {
        LeaderAction::Gather => true,
        LeaderAction::Send(_) => false,
        LeaderAction::End => panic!("a follower waits"),
    };
    assert!(gathers(&mut group, 0));
    for at in [4, 8, 12] {
        follow(&mut group, append("2"));
        assert!(gathers(&mut group, at));
    }
    assert!(gathers(&mut group, 16));
    assert!(!gathers(&mut group, 17));
}

#[test]
fn after_a_batch_of_many_the_leader_does_not_wait_for_long() {
    let (mut group, _waiters, leader) = group((0..6).map(|_| append("1")).collect());
    next_batch(&mut group, leader);
    let mut now = Instant::now();
    let until = now + Duration::from_micros(50);
    while matches!(group.poll_next(leader, now), LeaderAction::Gather) {
        follow(&mut group, append("2"));
        now += Duration::from_micros(2);
    }
    assert_eq!(now, until);
}
