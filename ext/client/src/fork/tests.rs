//! Tests of what a forked child has of its parent's state.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use super::{ProcessBound, ProcessLocal, generation, watch_forks};
use crate::runtime::runtime;

/// Whether `body` returns true in a forked child, which then exits.
fn holds_in_child(body: impl FnOnce() -> bool) -> bool {
    watch_forks();
    // SAFETY: the parent has threads. The child allocates, as a child of Ruby does too. It takes no lock that a thread
    // of the parent may have, and `_exit` runs none of the parent's exit handlers.
    unsafe {
        match libc::fork() {
            0 => {
                let passed = catch_unwind(AssertUnwindSafe(body)).unwrap_or(false);
                libc::_exit(if passed { 0 } else { 1 })
            }
            pid => {
                assert!(pid > 0);
                let mut status = 0;
                assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
                libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
            }
        }
    }
}

/// Counts how often it is dropped.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_child_has_another_generation() {
    let here = generation();
    assert!(holds_in_child(|| generation() != here));
    assert_eq!(generation(), here);
}

#[test]
fn a_child_neither_reads_nor_drops_a_value_bound_to_the_parent() {
    let drops = Arc::new(AtomicUsize::new(0));
    let mut bound = Some(ProcessBound::new(Counted(Arc::clone(&drops))));
    assert!(bound.as_ref().is_some_and(|bound| bound.get().is_some()));
    assert!(holds_in_child(|| {
        let seen = bound.as_ref().is_some_and(|bound| bound.get().is_some());
        drop(bound.take());
        !seen && drops.load(Ordering::SeqCst) == 0
    }));
    drop(bound);
    assert_eq!(drops.load(Ordering::SeqCst), 1);
}

#[test]
fn a_child_makes_its_own_value_and_does_not_drop_the_parents() {
    let drops = Arc::new(AtomicUsize::new(0));
    let mut local = Some(ProcessLocal::new());
    let make = |local: &Option<ProcessLocal<Counted>>, drops: &Arc<AtomicUsize>| {
        let local = local.as_ref().unwrap();
        local.get_or_make(|| Counted(Arc::clone(drops)))
    };
    let mine = make(&local, &drops);
    assert!(Arc::ptr_eq(&mine, &make(&local, &drops)));
    drop(mine);
    assert!(holds_in_child(|| {
        let childs = Arc::new(AtomicUsize::new(0));
        drop(make(&local, &childs));
        drop(local.take());
        drops.load(Ordering::SeqCst) == 0 && childs.load(Ordering::SeqCst) == 1
    }));
    drop(local);
    assert_eq!(drops.load(Ordering::SeqCst), 1);
}

#[test]
fn a_child_has_a_working_runtime() {
    let run = || {
        let (done, is_done) = mpsc::channel();
        let Ok(runtime) = runtime() else { return false };
        runtime.spawn(async move {
            tokio::task::yield_now().await;
            done.send(())
        });
        is_done.recv_timeout(Duration::from_secs(60)).is_ok()
    };
    assert!(run());
    assert!(holds_in_child(run));
    assert!(run());
}
